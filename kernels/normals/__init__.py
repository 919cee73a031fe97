"""White Gaussian noise from a counter: Philox-4x32-10 and Box & Muller 1958.

Item b of a draw has the counters (step, b, group, j), j = 0 .. ceil(samples / 4) - 1. Of the four words w of a counter,
with u = (w >> 8) + 1 over 2^24, in (0, 1],

    r = sqrt(-2 ln u0),  t = 2 pi u1:   r cos t,  r sin t,        and the same of u2 and u3

are four normal numbers; number q of counter j is sample q * ceil(samples / 4) + j. None is above 5.8 in size, which
5 of 10^9 would be.
"""

import torch

PASSES = ("normals",)
TYPES = (torch.float32,)
