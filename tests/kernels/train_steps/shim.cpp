// The kernel of train_steps as a library for the CPU, through the thread shim.
#include "train_steps/train_steps.cuh"

extern "C" {
int shared_bytes(int groups) { return 4 * SHARED_FLOATS + 8 * groups; }
int run_bytes() { return sizeof(Run); }
int launch_bytes() { return sizeof(Launch); }

void launch(const Launch* given, int blocks) {
    int groups = std::max(given->signal_groups, given->noise_groups) + given->corruption_groups;
    shim::run(blocks, THREADS, CLUSTER, shared_bytes(groups), [=] { train_steps(*given); });
}
}
