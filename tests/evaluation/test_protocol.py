"""The protocol's draw is what its docstring says, and what is chosen on one half is reported on the other."""

from dataclasses import replace

import numpy as np
import pytest

from partae_fast.errors import UserError
from partae_fast.evaluation import crossfit, protocol
from partae_fast.evaluation.audible import Audible
from partae_fast.evaluation.results import environment, read_protocol, write_protocol
from partae_fast.evaluation.scenes import Scene

from .conftest import RATE, hiss, song, write


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Four kinds of songs, one with two recordings, and four kinds of noise; rain has a second, short recording."""
    folder = tmp_path_factory.mktemp("recordings")
    for number, kind in enumerate(("tit", "wren", "frog", "speech-en")):
        write(folder / "clean" / kind / "a.wav", song(4.0, pitch=1500.0 + 500 * number))
    write(folder / "clean" / "tit" / "b.wav", song(5.0, pitch=2200.0))
    write(folder / "clean" / "tit" / "too_short.wav", song(2.0))
    for number, kind in enumerate(("rain", "wind", "city", "sea")):
        write(folder / "noise" / kind / "long.wav", hiss(20.0, number))
    write(folder / "noise" / "rain" / "short.wav", 3 * hiss(4.0, 9))
    return folder


@pytest.fixture(scope="module")
def cases(recordings):
    return list(protocol.draw(recordings, scenes=8, seed=3))


def parts(case):
    return case.scene.name.split(" in ")


def test_halves_share_no_song_and_no_noise_of_any_kind(cases):
    for place in (0, 1):
        kinds = [{parts(case)[place].split("/")[0] for case in cases if case.half == half} for half in (0, 1)]
        assert kinds[0] and kinds[1] and not kinds[0] & kinds[1]


def test_each_scene_is_mixed_at_two_levels_with_short_and_long_noise_only_audio_and_once_with_other(cases):
    scenes = {case.scene.name for case in cases}
    assert len(scenes) == 8 and len(cases) == 24
    assert not [name for name in scenes if "too_short" in name or name.endswith("rain/short")]
    for name in scenes:
        first, second, off = (case for case in cases if case.scene.name == name)
        assert first.level != second.level and {first.level, second.level} < set(protocol.LEVELS)
        assert sorted([first.seconds, second.seconds]) == [protocol.SHORT, pytest.approx(16, abs=1)]
        assert off.level == first.level and off.noise_only in protocol.OFF
        assert np.array_equal(off.scene.song, first.scene.song) and np.array_equal(off.scene.noise, first.scene.noise)
    assert {len(case.seeds) for case in cases} == {1, protocol.SEEDS}


def test_noise_only_audio_is_of_another_time_and_off_as_it_is_called(cases):
    for case in cases:
        mixed, alone = case.scene.noise, case.scene.noise_only
        shared = min(len(mixed), len(alone), RATE)
        windows = np.lib.stride_tricks.sliding_window_view(mixed, shared)
        assert not (windows[:, :8] == alone[:8]).all(1).any()
        if case.noise_only == "other":
            first = next(c for c in cases if c.scene.name == case.scene.name)
            assert "rain" in case.scene.name
            assert np.std(alone) == pytest.approx(np.std(first.scene.noise_only), rel=1e-3)
    assert any(case.noise_only == "other" for case in cases)


def test_a_draw_is_decided_by_its_seed(recordings, cases):
    again = list(protocol.draw(recordings, scenes=8, seed=3))
    assert [case.about() for case in again] == [case.about() for case in cases]
    assert all(np.array_equal(a.scene.song, b.scene.song) for a, b in zip(again, cases, strict=True))
    other = list(protocol.draw(recordings, scenes=8, seed=4))
    assert [case.scene.name for case in other] != [case.scene.name for case in cases]


def test_a_quick_draw_is_part_of_the_whole(recordings, cases):
    quick = list(protocol.draw(recordings, scenes=8, seed=3, quick=True))
    whole = {(case.scene.name, case.level, case.noise_only) for case in cases}
    assert 2 <= len(quick) <= 4 and {case.half for case in quick} == {0, 1}
    assert {(case.scene.name, case.level, case.noise_only) for case in quick} < whole


def test_what_makes_no_protocol_is_refused(recordings, tmp_path):
    for scenes, message in ((7, "it must be an even number"), (1000, "fewer pairs than the 500 scenes")):
        with pytest.raises(UserError, match=message):
            list(protocol.draw(recordings, scenes=scenes))
    for place in ("clean", "noise"):
        write(tmp_path / place / "one" / "a.wav", hiss(9.0, 0))
    with pytest.raises(UserError, match="clean: 1 kinds of recordings are long enough"):
        list(protocol.draw(tmp_path))


def rows_of(values, conditions=("matched",)):
    """Rows of two scenes in each half: SI-SDR by method, one value for each scene."""
    return [
        {
            "half": number // 2, "kind": "speech" if number == 0 else "tit", "noise_only": condition, "length": "short",
            "scene": f"s{number}", "level": 0.0, "method": method, "seed": seed, "seconds": 1.0,
            "si_sdr": each[number] - cost + 0.25 * (seed or 0), "stoi": 0.5 if number == 0 else float("nan"),
            "contrast": 3.0, "onset": 0.1,
        }
        for condition, cost in zip(conditions, (0.0, 0.5), strict=False)
        for number in range(4)
        for method, each in values.items()
        for seed in ((0, 2) if method == "field" else (None,))
    ]  # fmt: skip


VALUES = {
    "input": [0.0, 0.0, 0.0, 0.0],
    "wiener": [5.0, 5.0, 1.0, 1.0],  # the better on half 0, so it is what half 1 is compared with
    "gate": [2.0, 2.0, 4.0, 4.0],
    "field": [2.75, 3.75, 3.75, -0.25],  # with a spread of 0.5 over its seeds: 3, 4, 4, 0 in the mean
}


def test_the_filter_of_a_half_is_chosen_on_the_other():
    summary = crossfit.summarise(rows_of(VALUES), ["field"])
    assert summary["filters"] == {0: "gate", 1: "wiener"}
    field = summary["systems"]["field"]
    assert field["filter"][0] == pytest.approx(np.mean([3 - 2, 4 - 2, 4 - 1, 0 - 1]))
    assert field["far_below"] == pytest.approx(2 / 4)  # of 3 - 5, 4 - 5, 4 - 4, 0 - 4
    assert field["spread"] == pytest.approx(0.5)
    assert field["worst"][0] == ["s3", 0.0, pytest.approx(-1)]
    assert field["speech_filter"][0] == pytest.approx(1.0)
    assert summary["methods"]["field"][0] == pytest.approx(11 / 4) and summary["methods"]["field"][3] == 0
    assert summary["audible"]["stoi"]["gate"] == pytest.approx(0.5)
    assert "noisereduce" not in field


def test_audio_that_does_not_match_is_compared_with_the_same_mixture():
    summary = crossfit.summarise(rows_of(VALUES, ("matched", "louder")), ["field"])
    assert summary["systems"]["field"]["off"] == {"louder": [pytest.approx(0.5)] * 3 + [0]}
    assert summary["cases"] == 8 and summary["systems"]["field"]["filter"][0] == pytest.approx(1.25)


def test_rows_and_tables_are_written_and_read(tmp_path):
    rows = rows_of(VALUES, ("matched", "quieter"))
    summary = crossfit.summarise(rows, ["field"])
    write_protocol(tmp_path, {"environment": environment(), "settings": {"seed": 3}, "summary": summary, "rows": rows})
    text = (tmp_path / "protocol.md").read_text()
    assert "seed 3" in text and "chosen on the other half: gate for half 0 and wiener for half 1" in text
    assert "| loss if the noise-only audio is 6 dB too quiet | +0.5 [+0.5, +0.5]; 0 below the input |" in text
    assert (tmp_path / "protocol.png").stat().st_size > 10_000
    assert crossfit.summarise(read_protocol(tmp_path / "protocol.csv"), ["field"]) == summary


def test_run_has_a_row_for_each_case_method_and_seed(cases):
    few = [case for case in cases if len(case.seeds) > 1][:1]
    rows = protocol.run(few, {"same": lambda seed: lambda mixture, *_: mixture}, ["gate", "wiener-1024"])
    assert [(row["method"], row["seed"]) for row in rows] == [
        ("input", None), ("gate", None), ("wiener-1024", None), ("same", 0), ("same", 1), ("same", 2),
    ]  # fmt: skip
    assert rows[0]["half"] == few[0].half and rows[3]["si_sdr"] == rows[0]["si_sdr"]


SCENE = Scene("s", song(), hiss(3.0, 0), hiss(2.0, 1), RATE, (2000.0, 4500.0))


def test_loud_mixtures_are_scaled_to_full_scale(cases):
    case = next(case for case in cases if case.noise_only == "matched")
    peaks = []

    def system(mixture, noise_only, rate):
        peaks.append(max(np.abs(mixture).max(), np.abs(noise_only).max()))
        return mixture

    loud = replace(case, scene=replace(case.scene, song=50 * case.scene.song))
    rows = [protocol.run([own], {"ours": lambda seed: system}, []) for own in (case, loud)]
    assert peaks[1] == pytest.approx(1)
    assert rows[1][0]["si_sdr"] == pytest.approx(rows[0][0]["si_sdr"], abs=1e-4)


def test_a_song_is_plainer_to_a_detector_with_less_noise():
    mixture, _ = SCENE.mixture(0.0)
    audible = Audible(SCENE, mixture, "tit")
    noisy, better, clean = (audible.of(SCENE.song + share * (mixture - SCENE.song)) for share in (1.0, 0.3, 0.0))
    assert noisy["contrast"] < better["contrast"] < clean["contrast"]
    assert clean["onset"] == 0 <= better["onset"] <= noisy["onset"] and noisy["onset"] > 0.01
    assert np.isnan(noisy["stoi"])


def test_speech_has_stoi_where_it_is_installed():
    pytest.importorskip("pystoi")
    mixture, _ = SCENE.mixture(0.0)
    audible = Audible(SCENE, mixture, "speech-en")
    assert audible.of(mixture)["stoi"] < audible.of(SCENE.song)["stoi"]
