// Philox-4x32-10 for the draws of crops: random numbers from a counter (Salmon et al. 2011).
#pragma once

// First word for key `seed` (low word, high word) and counter (step, item, group, 0).
DEVICE unsigned int first_word(unsigned long long seed, unsigned int step, unsigned int item, unsigned int group) {
    unsigned int k0 = (unsigned int)seed, k1 = (unsigned int)(seed >> 32);
    unsigned int c0 = step, c1 = item, c2 = group, c3 = 0;
    for (int round = 0; round < 10; ++round) {
        unsigned long long even = 0xD2511F53ull * c0, odd = 0xCD9E8D57ull * c2;
        c0 = (unsigned int)(odd >> 32) ^ c1 ^ k0;
        c1 = (unsigned int)odd;
        c2 = (unsigned int)(even >> 32) ^ c3 ^ k1;
        c3 = (unsigned int)even;
        k0 += 0x9E3779B9u;
        k1 += 0xBB67AE85u;
    }
    return c0;
}
