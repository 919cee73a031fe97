// A few steps of train_steps on made-up recordings, for the thread sanitizer to watch: exit code 66 where it saw a race.
// Arguments: items of a batch, frames of an item.
#include <cstdlib>

#include "train_steps/train_steps.cuh"

int main(int, char** arguments) {
    const int BATCH = std::atoi(arguments[1]), CROP = std::atoi(arguments[2]);
    constexpr int RECORDINGS = 3, GROUPS = 3, STEPS = 4;
    const int LENGTH = CROP + OWN * P;
    constexpr int RUNS = POPULATION ? GRID / CLUSTER : 1;
    const int STARTS_EACH = LENGTH - CROP + 1;
    unsigned int state = 1;
    auto number = [&] { return (float)((state = state * 1664525u + 1013904223u) >> 8) / (1 << 24); };
    auto numbers = [&](int count, float low, float high) {
        auto* made = new std::vector<float>(count);
        for (float& n : *made) n = low + (high - low) * number();
        return made->data();
    };
    // one recording in each group: signal, noise, corruption
    const long long before[RECORDINGS] = {0, STARTS_EACH, 2 * STARTS_EACH};
    const long long shift[RECORDINGS] = {0, LENGTH - STARTS_EACH, 2 * (LENGTH - STARTS_EACH)};
    const long long* group_first = before;
    const long long group_starts[GROUPS] = {STARTS_EACH, STARTS_EACH, STARTS_EACH};
    std::vector<TrainingRun> runs(RUNS);
    for (TrainingRun& run : runs) {
        for (int bank = 0; bank < 2; ++bank) {
            run.weights[bank] = numbers(M * H * K, -0.5f, 0.5f);
            for (int i = 0; i < 2; ++i) run.state[bank][i] = numbers(M * H * K, 0.0f, 0.1f);
        }
        run.source = numbers(RECORDINGS * LENGTH * H, 0.0f, 2.0f);
        run.mean = numbers(H, 1.0f, 1.0f);
        run.inverse_std = numbers(H, 0.5f, 1.0f);
        run.foreground = numbers(K, 0.0f, 1.0f);
        run.starts_before = before;
        run.shift = shift;
        run.group_first = group_first;
        run.group_starts = group_starts;
        const double options[4] = {1.0, 0.9, 1e-2, 0.0};
        std::copy(options, options + 4, run.options);
        run.weight_decay = 1e-3;
        run.latent_weight = 0.5;
        run.seed = 7;
        run.recordings = RECORDINGS;
        run.noise_items = 1;
        run.step = run.barriers = 0;
    }
    std::vector<float> partials((size_t)GRID * 2 * GRADIENT);
    std::vector<double> loss_partials(2 * GRID), losses(RUNS * STEPS);
    unsigned int counter = 0;
    const Launch launch = {runs.data(), partials.data(), loss_partials.data(), losses.data(), &counter,
                           STEPS,       BATCH,           CROP,                 1,             1,
                           CORRUPTION,  ADADELTA,        0.25f};
    shim::run(GRID, THREADS, CLUSTER, 4 * SHARED_FLOATS + 16, [=] { train_steps(launch); });
}
