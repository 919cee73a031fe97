// The kernel of train_steps and what the tests ask it.

// powers() is how often the kernel has computed a power.
static std::atomic<int> powers_computed;
static double counted_pow(double base, double exponent) {
    ++powers_computed;
    return std::pow(base, exponent);
}
#define pow counted_pow
#include "train_steps/train_steps.cuh"

extern "C" {
int powers() { return powers_computed; }
int shared_bytes(int groups) { return 4 * SHARED_FLOATS + 8 * groups; }
int run_bytes() { return sizeof(TrainingRun); }
int launch_bytes() { return sizeof(Launch); }

// Where the fields begin: what RUN and LAUNCH of cuda.py must say.
void run_offsets(int* offsets) {
    const std::vector<size_t> fields = {
        offsetof(TrainingRun, weights),      offsetof(TrainingRun, state),         offsetof(TrainingRun, source),       offsetof(TrainingRun, mean),
        offsetof(TrainingRun, inverse_std),  offsetof(TrainingRun, foreground),    offsetof(TrainingRun, starts_before), offsetof(TrainingRun, shift),
        offsetof(TrainingRun, group_first),  offsetof(TrainingRun, group_starts),  offsetof(TrainingRun, options),      offsetof(TrainingRun, weight_decay),
        offsetof(TrainingRun, latent_weight), offsetof(TrainingRun, seed),         offsetof(TrainingRun, recordings),   offsetof(TrainingRun, noise_items),
        offsetof(TrainingRun, step),         offsetof(TrainingRun, barriers)};
    std::copy(fields.begin(), fields.end(), offsets);
}
void launch_offsets(int* offsets) {
    const std::vector<size_t> fields = {
        offsetof(Launch, runs),          offsetof(Launch, partials),     offsetof(Launch, loss_partials),
        offsetof(Launch, losses),        offsetof(Launch, counter),
        offsetof(Launch, steps),         offsetof(Launch, batch),        offsetof(Launch, frames),
        offsetof(Launch, signal_groups), offsetof(Launch, noise_groups), offsetof(Launch, corruption_groups),
        offsetof(Launch, optimizer),     offsetof(Launch, negative_slope)};
    std::copy(fields.begin(), fields.end(), offsets);
}
void optimizer_numbers(int* numbers) {
    const std::vector<int> rules = {ADADELTA, ADAM, SGD, NESTEROV};
    std::copy(rules.begin(), rules.end(), numbers);
}
}
