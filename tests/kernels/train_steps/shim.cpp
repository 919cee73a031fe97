// The kernel of train_steps as a library for the CPU, through the thread shim.
#include "train_steps/train_steps.cuh"

extern "C" {
int shared_bytes(int groups) { return 4 * SHARED_FLOATS + 8 * groups; }
int run_bytes() { return sizeof(Run); }
int launch_bytes() { return sizeof(Launch); }

// Where the fields begin: what RUN and LAUNCH of cuda.py must say.
void run_offsets(int* offsets) {
    const std::vector<size_t> fields = {
        offsetof(Run, weights),      offsetof(Run, state),         offsetof(Run, source),       offsetof(Run, mean),
        offsetof(Run, inverse_std),  offsetof(Run, foreground),    offsetof(Run, starts_before), offsetof(Run, shift),
        offsetof(Run, group_first),  offsetof(Run, group_starts),  offsetof(Run, options),      offsetof(Run, weight_decay),
        offsetof(Run, latent_weight), offsetof(Run, seed),         offsetof(Run, recordings),   offsetof(Run, noise_items)};
    std::copy(fields.begin(), fields.end(), offsets);
}
void launch_offsets(int* offsets) {
    const std::vector<size_t> fields = {
        offsetof(Launch, runs),          offsetof(Launch, partials),     offsetof(Launch, loss_partials),
        offsetof(Launch, losses),        offsetof(Launch, counter),      offsetof(Launch, first),
        offsetof(Launch, steps),         offsetof(Launch, batch),        offsetof(Launch, frames),
        offsetof(Launch, signal_groups), offsetof(Launch, noise_groups), offsetof(Launch, corruption_groups),
        offsetof(Launch, optimizer),     offsetof(Launch, leak)};
    std::copy(fields.begin(), fields.end(), offsets);
}
void optimizer_numbers(int* numbers) {
    const std::vector<int> rules = {ADADELTA, ADAM, SGD, NESTEROV};
    std::copy(rules.begin(), rules.end(), numbers);
}

void launch(const Launch* given, int blocks) {
    int groups = std::max(given->signal_groups, given->noise_groups) + given->corruption_groups;
    shim::run(blocks, THREADS, CLUSTER, shared_bytes(groups), [=] { train_steps(*given); });
}
}
