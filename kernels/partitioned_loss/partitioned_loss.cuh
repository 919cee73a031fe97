// partitioned_loss on a GPU: the loss and both of its gradients in one pass over memory.
//
//     loss = 1/B sum_b [ sum_nh (target - r)^2 + penalty y[b] / mean(C) sum_pk (C[k] values[b, p, k])^2 ]
//
// The first `error_parts` blocks have `numbers_each` numbers of r each and the others as many of the values. Each stores
// its part of the loss, and a second kernel adds the parts in order.
//
// Macros by -D: THREADS.
#pragma once

#include "../_cuda/common.cuh"

// In the layout of `LOSS` in cuda.py.
struct Loss {
    double* partials;                    // (error parts + penalty parts,)
    const float *reconstruction, *target;  // (B, N, H)
    float* grad_reconstruction;          // (B, N, H)
    const float* values;                 // (B, W, K)
    float* grad_values;                  // (B, W, K)
    const float *noise_only, *foreground;  // (B,), (K,)
    long long numbers, pooled;           // B N H, B W K
    int numbers_each, error_parts;
    int item_pooled, latents;            // W K, K
    float penalty, per_item;             // 1 / B
};

// In the layout of `LOSS_SUM` in cuda.py.
struct LossSum {
    float* loss;
    const double* partials;
    int parts;
};

// Return `share`, or NaN if it is outside [0, 1]: raising would synchronize the stream.
DEVICE float in_unit(float share) { return share >= 0.0f && share <= 1.0f ? share : number_of(0x7FC00000u); }

// Return this thread's part of the squared error of numbers first .. last - 1; write their gradients.
DEVICE double squared_error(const Loss& launch, long long first, long long last) {
    const float factor = 2.0f * launch.per_item;
    double sum = 0.0;
    UNROLL_BY(4)
    for (long long i = first + thread_index(); i < last; i += THREADS) {
        const float error = launch.reconstruction[i] - launch.target[i];
        launch.grad_reconstruction[i] = factor * error;
        sum += (double)error * error;
    }
    return sum;
}

// Return this thread's part of the penalty on values first .. last - 1; write their gradients.
DEVICE double penalty(float* shared, const Loss& launch, long long first, long long last) {
    double share = 0.0;
    for (int k = thread_index(); k < launch.latents; k += THREADS) share += in_unit(launch.foreground[k]);
    share = block_sum(shared, share, true) / launch.latents;
    // With no foreground latent every weight is 0; a NaN stays.
    const float scale = (float)(launch.penalty / (share == 0.0 ? 1.0 : share));
    double sum = 0.0;
    UNROLL_BY(4)
    for (long long i = first + thread_index(); i < last; i += THREADS) {
        const float foreground = in_unit(launch.foreground[i % launch.latents]), value = launch.values[i];
        const float weight = scale * in_unit(launch.noise_only[i / launch.item_pooled]) * foreground * foreground;
        launch.grad_values[i] = 2.0f * launch.per_item * weight * value;
        sum += (double)weight * value * value;
    }
    return sum;
}

KERNEL(THREADS, 1) partitioned_loss(Loss launch) {
    float* shared = shared_memory();
    const bool errors = block_index() < launch.error_parts;
    const long long part = errors ? block_index() : block_index() - launch.error_parts;
    const long long first = part * launch.numbers_each, numbers = errors ? launch.numbers : launch.pooled;
    const long long last = min(first + launch.numbers_each, numbers);
    double sum = errors ? squared_error(launch, first, last) : penalty(shared, launch, first, last);
    sum = block_sum(shared, sum, false);
    if (thread_index() == 0) launch.partials[block_index()] = sum * launch.per_item;
}

// One block.
KERNEL(THREADS, 1) partitioned_loss_sum(LossSum launch) {
    double sum = 0.0;
    for (int part = thread_index(); part < launch.parts; part += THREADS) sum += launch.partials[part];
    sum = block_sum(shared_memory(), sum, false);
    if (thread_index() == 0) *launch.loss = (float)sum;
}
