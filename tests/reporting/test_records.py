import json

import pytest

from smoothmix.reporting.records import read_folders, read_records
from smoothmix.utils.errors import UserError

ERRORS = {"test_top1_error": 10.0, "test_top5_error": 2.0}
NAMES = {"dataset": "cifar100", "model": "pyramidnet200", "method": "cutmix", "recipe": "cifar", "config_hash": "a"}


def leave(folder, seed, **changes):
    folder.mkdir(parents=True)
    record = NAMES | {"seed": seed, "epochs": 300, "best": ERRORS, "last": ERRORS} | changes
    (folder / "summary.json").write_text(json.dumps(record))


def test_seeds_of_a_setting_in_two_precisions_are_refused(tmp_path):
    leave(tmp_path / "a" / "0", 0, precision="fp32")
    leave(tmp_path / "a" / "1", 1, precision="fp32")
    leave(tmp_path / "b" / "other", 0, precision="bf16", method="mixup")
    assert len(read_folders([tmp_path])) == 3
    leave(tmp_path / "b" / "2", 2, precision="bf16")
    assert len(read_records(tmp_path / "b")) == 2
    for read, place in ((read_records, tmp_path), (read_folders, [tmp_path / "a", tmp_path / "b"])):
        with pytest.raises(UserError, match=r"a/0/\S+ was trained in fp32 and \S+b/2/summary.json, .* in bf16"):
            read(place)
