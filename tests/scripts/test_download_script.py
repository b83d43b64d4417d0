"""scripts/download.py with the corruption archives: names, parts, places."""

import hashlib
import io
import sys
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer

import pytest

from datasets.corrupted_sets import ARCHIVES
from datasets.download import Archive
from scripts import download
from smoothmix.utils.command import status_of
from tests.mistakes import one_line

PUBLISHED = {  # md5 by address
    "https://zenodo.org/records/2535967/files/CIFAR-10-C.tar?download=1": "56bf5dcef84df0e2308c6dcbcbbd8499",
    "https://zenodo.org/records/3555552/files/CIFAR-100-C.tar?download=1": "11f0ed0f1191edbf9fa23466ae6021d3",
    "https://zenodo.org/records/2235448/files/noise.tar?download=1": "e80562d7f6c3f8834afb1ecf27252745",
    "https://zenodo.org/records/2235448/files/blur.tar?download=1": "2d8e81fdd8e07fef67b9334fa635e45c",
    "https://zenodo.org/records/2235448/files/weather.tar?download=1": "33ffea4db4d93fe4a428c40a6ce0c25d",
    "https://zenodo.org/records/2235448/files/digital.tar?download=1": "89157860d7b10d5797849337ca2e5c03",
    "https://zenodo.org/records/2235448/files/extra.tar?download=1": "d492dfba5fc162d8ec2c3cd8ee672984",
}


@pytest.fixture
def zenodo(tmp_path_factory, monkeypatch):
    """Serve tiny archives in the published layouts; return the list of files that are asked for."""
    folder, asked = tmp_path_factory.mktemp("zenodo"), []

    class Handler(SimpleHTTPRequestHandler):
        def log_request(self, *_):
            asked.append(self.path)

    with ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=folder)) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        served = {}
        for name, archives in ARCHIVES.items():
            served[name] = {}
            for part, archive in archives.items():
                file = "/n01440764/ILSVRC2012_val_00000293.JPEG" if name == "imagenet_c" else ""
                with tarfile.open(folder / archive.name, mode="w") as tar:
                    for place in archive.holds:
                        member = tarfile.TarInfo(place + file)
                        member.size = len(place)
                        tar.addfile(member, io.BytesIO(place.encode()))
                url = f"http://127.0.0.1:{server.server_port}/{archive.name}?download=1"
                md5 = hashlib.md5((folder / archive.name).read_bytes()).hexdigest()
                served[name][part] = Archive(url, md5, archive.holds)
        monkeypatch.setattr(download, "ARCHIVES", served)
        yield asked
        server.shutdown()


@pytest.fixture
def run(tmp_path, zenodo, monkeypatch):
    """Return a function that downloads to tmp_path, and returns the exit status."""

    def call(*arguments):
        monkeypatch.setattr(sys, "argv", ["download.py", *arguments, "--root", str(tmp_path)])
        return status_of(download.main) or 0

    return call


def test_the_archives_are_the_published_ones():
    archives = [archive for parts in ARCHIVES.values() for archive in parts.values()]
    assert {archive.url: archive.md5 for archive in archives} == PUBLISHED
    held = [name.partition("/")[0] for archive in ARCHIVES["imagenet_c"].values() for name in archive.holds]
    types = set(held)
    assert len(held) == 95
    assert len(types) == 19
    for name, folder in (("cifar10_c", "CIFAR-10-C"), ("cifar100_c", "CIFAR-100-C")):
        assert set(ARCHIVES[name]["all"].holds) == {f"{folder}/{kind}.npy" for kind in {*types, "labels"}}


@pytest.mark.parametrize(("name", "folder"), [("cifar10_c", "CIFAR-10-C"), ("cifar100_c", "CIFAR-100-C")])
def test_cifar_c(tmp_path, run, zenodo, capsys, name, folder):
    for _ in range(2):
        assert run(name) == 0
        assert capsys.readouterr().out == f"{folder} is in {tmp_path / folder}\n"
    assert zenodo == [f"/{folder}.tar?download=1"]
    assert len(list((tmp_path / folder).iterdir())) == 20
    assert (tmp_path / folder / "fog.npy").read_text() == f"{folder}/fog.npy"
    assert (tmp_path / f"{folder}.tar").is_file()


def test_parts_of_imagenet_c(tmp_path, run, zenodo):
    folder = tmp_path / "ImageNet-C"
    assert run("imagenet_c", "noise", "extra", "--delete-archive") == 0
    assert zenodo == ["/noise.tar?download=1", "/extra.tar?download=1"]
    assert list(folder.glob("*.tar")) == []
    image = folder / "shot_noise" / "5" / "n01440764" / "ILSVRC2012_val_00000293.JPEG"
    assert image.read_text() == "shot_noise/5"
    assert run("imagenet_c") == 0
    assert zenodo[2:] == ["/blur.tar?download=1", "/weather.tar?download=1", "/digital.tar?download=1"]
    assert len([path for path in folder.iterdir() if path.is_dir()]) == 19
    assert len(list(folder.glob("*.tar"))) == 3
    image.unlink()
    for path in (image.parent, image.parent.parent):
        path.rmdir()  # a severity that is gone is noticed
    assert run("imagenet_c", "noise") == 0
    assert image.is_file()
    assert zenodo[5:] == ["/noise.tar?download=1"]


def test_generated_files_are_not_mixed_with_published_ones(tmp_path, run, zenodo, capsys):
    (tmp_path / "CIFAR-10-C").mkdir()
    (tmp_path / "CIFAR-10-C" / "generated.json").write_text('{"seed": 0}')
    assert run("cifar10_c") == 2
    one_line(capsys.readouterr().err[:-1], tmp_path / "CIFAR-10-C", "generated.json")
    assert zenodo == []
