import statistics

import pytest
from matplotlib.figure import Figure

from smoothmix.corruptions import CORRUPTIONS
from smoothmix.reporting.figures import FOREGROUND, colour_of, corruption_bars, save, severity_curves, svg
from smoothmix.reporting.methods import METHODS
from smoothmix.utils.errors import UserError
from tests.reporting.made import corrupted


def test_every_method_has_a_colour_of_its_own():
    assert len({colour_of(method) for method in [*METHODS, "unknown"]}) == len(METHODS) + 1


def test_files_are_the_same_bytes_each_time_and_links_are_replaced(tmp_path):
    written = []
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "b").mkdir()
    for kind in ("svg", "png"):
        (tmp_path / "b" / f"x.y.{kind}").symlink_to(tmp_path / "victim")
    for name in ("a", "b"):
        figure = Figure()
        axes = figure.subplots()
        axes.plot([1, 2], [3, 4], label="line")
        axes.legend()
        written.append([path.read_bytes() for path in save(figure, tmp_path / name / "x.y")])
        assert (tmp_path / name / "x.y.svg").exists()
    assert written[0] == written[1]
    assert (tmp_path / "victim").read_text() == "precious"
    assert written[0][0].startswith(b"<?xml")
    assert written[0][1].startswith(b"\x89PNG")


def test_a_folder_that_cannot_be_written_is_one_sentence(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match="cannot write"):
        save(Figure(), tmp_path / "file" / "figure")


def test_bars_are_means_over_severities_and_seeds():
    records = [corrupted("cutmix", 20.0), corrupted("cutmix", 30.0, seed=1), corrupted("smoothmix_c", 10.0)]
    records[0].top1_errors["fog"] = dict.fromkeys(range(1, 6), 5.0)
    axes = corruption_bars(records, "title").axes[0]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == list(CORRUPTIONS)
    heights = {bars.get_label(): [bar.get_height() for bar in bars] for bars in axes.containers}
    assert list(heights) == ["CutMix", "SmoothMix_C"]
    assert heights["CutMix"][names.index("snow")] == pytest.approx(28.0)
    assert heights["CutMix"][names.index("fog")] == pytest.approx(statistics.mean([5.0, 33.0]))
    assert heights["SmoothMix_C"] == pytest.approx([13.0] * len(names))


def test_corruptions_that_a_record_lacks_are_left_out_for_all():
    part = corrupted("mixup", 20.0)
    del part.top1_errors["fog"][3], part.top1_errors["snow"]
    axes = corruption_bars([corrupted("cutmix", 20.0), part], "title").axes[0]
    names = [label.get_text() for label in axes.get_xticklabels()]
    assert names == [name for name in CORRUPTIONS if name not in ("fog", "snow")]
    with pytest.raises(UserError, match="no corruption is complete"):
        corruption_bars([corrupted("cutmix", 20.0), corrupted("mixup", 20.0, names=())], "title")


def test_severity_curves_are_means_over_a_category():
    record = corrupted("cutmix", 20.0)
    record.top1_errors["fog"][5] = 80.0
    figure = severity_curves([record], "title")
    titles = [axes.get_title() for axes in figure.axes]
    assert titles == [f"{name} corruptions)" for name in ("noise (4", "blur (5", "weather (5", "digital (5")]
    weather = [name for name, corruption in CORRUPTIONS.items() if corruption.category == "weather"]
    noise, weather_line = figure.axes[0].lines[0].get_ydata(), figure.axes[2].lines[0].get_ydata()
    assert list(noise) == pytest.approx([21, 22, 23, 24, 25])
    assert weather_line[4] == pytest.approx((25 * (len(weather) - 1) + 80) / len(weather))


def test_two_settings_of_a_method_have_bars_of_their_own():
    figure = corruption_bars([corrupted("cutmix", 7.0), corrupted("cutmix", 87.0, config_hash="other")], "title")
    bars = {container.get_label(): container[0].get_height() for container in figure.axes[0].containers}
    assert bars == {"CutMix (cutmix)": 10.0, "CutMix (other)": 90.0}


def test_a_figure_for_a_page_has_the_colours_of_its_text():
    figure = corruption_bars([corrupted("identity", 7.0)], "")
    text = svg(figure).decode()
    assert "prefers-color-scheme:dark" in text
    assert FOREGROUND not in text
    assert text.count("currentColor") > 10
    assert text == svg(corruption_bars([corrupted("identity", 7.0)], "")).decode()
