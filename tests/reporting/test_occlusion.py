import json
from pathlib import Path

import pytest
import torch
from torch import nn

from smoothmix.evaluation.cam import class_activation_maps
from smoothmix.evaluation.occlusion import CONDITIONS, occlude
from smoothmix.reporting.occlusion import attention, changes, label, to_markdown

RESULTS = Path(__file__).parents[2] / "results" / "occlusion"


@pytest.fixture(scope="module")
def record():
    return json.loads((RESULTS / "occlusion.json").read_text())


def test_the_committed_table_is_the_one_that_the_committed_record_makes(record):
    table = to_markdown(record)
    assert (RESULTS / "occlusion.md").read_text() == table + "\n"
    assert (RESULTS / "README.md").read_text().endswith("\n\n" + table + "\n")
    assert len(table.splitlines()) == 2 + 6 * 3


def test_the_committed_changes_are_differences_of_the_means(record):
    assert (record["images"], record["box_side"], len(record["models"])) == (1000, 16, 6)
    for model in record["models"]:
        clean = model["results"]["clean"]
        assert set(model["results"]) == set(CONDITIONS)
        for found in model["results"].values():
            for name in ("probability", "share"):
                change = found[name]["mean"] - clean[name]["mean"]
                assert found[f"{name}_change"]["mean"] == pytest.approx(change, abs=1e-9)


def test_the_plot_shows_the_changes(record):
    left, right = changes(record).axes
    for axes, name in ((left, "probability"), (right, "share")):
        for container, condition in zip(axes.containers, ("translucent", "bordered"), strict=True):
            expected = [model["results"][condition][f"{name}_change"]["mean"] for model in record["models"]]
            assert list(container.lines[0].get_xdata()) == expected
    assert [text.get_text() for text in left.get_yticklabels()] == [label(model) for model in record["models"]]


class Small(nn.Module):
    def __init__(self):
        super().__init__()
        self.convolution, self.fc = nn.Conv2d(3, 6, 3), nn.Linear(6, 4)

    def forward_features(self, images):
        return self.convolution(images).relu()

    def forward(self, images):
        return self.fc(self.forward_features(images).mean(dim=(2, 3)))


def test_attention_shows_every_condition_with_the_probability_of_the_true_class():
    torch.manual_seed(0)
    network = Small().eval()
    images = torch.randint(0, 256, (2, 3, 16, 16), dtype=torch.uint8)
    labels, corners = torch.tensor([2, 1]), torch.tensor([[0, 3], [8, 8]])
    figure = attention([("one", network)], images, labels, corners, 8, lambda batch: 2 * batch - 1, list("abcd"))
    assert len(figure.axes) == 2 * 3 * 2
    grid = [figure.axes[i : i + 2] for i in range(0, 12, 2)]
    boxes = list(CONDITIONS.values())[1:]
    assert [row[0].get_title() for row in grid] == ["c", *boxes, "b", *boxes]
    for i in range(2):
        for number, condition in enumerate(CONDITIONS):
            seen = occlude(images.float() / 255, corners, 8, condition)
            picture, heat = grid[3 * i + number][0].images[0], grid[3 * i + number][1].images[1]
            torch.testing.assert_close(torch.tensor(picture.get_array()), seen[i].permute(1, 2, 0))
            maps, logits = class_activation_maps(network, 2 * seen - 1, labels)
            torch.testing.assert_close(torch.tensor(heat.get_array()), maps[i])
            probability = logits.softmax(dim=1)[i, labels[i]].item()
            assert grid[3 * i + number][1].get_title() == f"one: {probability:.3f}"
