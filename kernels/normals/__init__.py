"""White Gaussian noise from a counter: Philox-4x32-10 and the method of Box & Muller (1958).

Item b of a draw has the counters (step, b, group, j), j = 0 .. ceil(samples / 4) - 1. The four words w of a counter
give u = ((w >> 8) + 1) / 2^24 in (0, 1], and these four normal numbers:

    r = sqrt(-2 ln u0),  t = 2 pi u1:   r cos t,  r sin t,        and likewise from u2 and u3

Number q of counter j is sample q * ceil(samples / 4) + j. No sample exceeds 5.8 in magnitude, as 5 of 10^9 normal
numbers do.
"""

import torch

PASSES = ("normals",)
TYPES = (torch.float32,)
