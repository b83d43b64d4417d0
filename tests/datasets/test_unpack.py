"""Archives that would fill the disk or the memory."""

import gzip
import random
import tarfile
import tracemalloc

import pytest

from datasets.download import GROWTH, SPARE, most, unpack
from smoothmix.utils.errors import UserError
from tests.datasets.test_download import tar_of

MEBIBYTE = bytes(1 << 20)


def header(kind: bytes, name: str, size: int) -> bytes:
    member = tarfile.TarInfo(name)
    member.type, member.size = kind, size
    return member.tobuf(tarfile.GNU_FORMAT)


BOMBS = {
    "a file": (tarfile.REGTYPE, "a/x"),
    "a file that is skipped": (tarfile.REGTYPE, "a/._x"),
    "a long name": (tarfile.GNUTYPE_LONGNAME, "././@LongLink"),
    "an extended header": (tarfile.XHDTYPE, "a/x"),
}


@pytest.mark.parametrize("claims", [80 << 20, 10 << 40])
@pytest.mark.parametrize("kind", BOMBS)
def test_a_gzip_bomb_is_refused_before_it_is_unpacked(tmp_path, kind, claims):
    archive = tmp_path / "data" / "set.tar.gz"
    archive.parent.mkdir()
    with gzip.open(archive, "wb", compresslevel=1) as file:
        file.write(header(*BOMBS[kind], claims))
        for _ in range(80):
            file.write(MEBIBYTE)
    assert archive.stat().st_size < 1 << 20
    tracemalloc.start()
    with pytest.raises(UserError, match=r"set.tar.gz holds more than \d+ bytes in \d+.*nothing was unpacked"):
        unpack(archive, tmp_path / "data", {"a"})
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 4 << 20
    assert [path.name for path in tmp_path.rglob("*")] == ["data", "set.tar.gz"]


def test_many_small_files_count_together(tmp_path):
    archive = tmp_path / "set.tar.gz"
    with gzip.open(archive, "wb", compresslevel=1) as file:
        file.write(tar_of({f"a/{i}": MEBIBYTE for i in range(70)}))
    with pytest.raises(UserError, match="nothing was unpacked"):
        unpack(archive, tmp_path, {"a"})
    assert [path.name for path in tmp_path.iterdir()] == ["set.tar.gz"]


def test_a_sparse_file_counts_as_what_it_pretends_to_be(tmp_path):
    """Its bytes would not be on the disk, but whoever copies or reads it writes terabytes."""
    size = 5 << 40
    raw = bytearray(header(tarfile.GNUTYPE_SPARSE, "a/x", 0))
    raw[386:410] = b"%011o\0%011o\0" % (0, 0)  # one block, of no bytes
    raw[483:495] = b"\x80" + size.to_bytes(11, "big")  # the real size
    raw[148:156] = b"        "
    raw[148:156] = b"%06o\0 " % sum(raw[:512])
    (tmp_path / "set.tar").write_bytes(bytes(raw) + bytes(1024))
    with tarfile.open(tmp_path / "set.tar") as tar:
        (member,) = tar.getmembers()
        assert (member.size, member.isfile()) == (size, True)
    with pytest.raises(UserError, match="nothing was unpacked"):
        unpack(tmp_path / "set.tar", tmp_path, {"a"})
    assert [path.name for path in tmp_path.iterdir()] == ["set.tar"]


def test_a_file_just_below_the_bound_is_unpacked(tmp_path):
    archive = tmp_path / "set.tar.gz"
    body = random.Random(0).randbytes(100_000)
    archive.write_bytes(gzip.compress(tar_of({"a/noise": body, "a/zeros": bytes(60 << 20)}), 1))
    assert most(archive) == GROWTH * archive.stat().st_size + SPARE
    unpack(archive, tmp_path, {"a"})
    assert (tmp_path / "a" / "noise").read_bytes() == body
    assert (tmp_path / "a" / "zeros").stat().st_size == 60 << 20


@pytest.mark.parametrize("count", [60, pytest.param(5000, marks=pytest.mark.slow)])
@pytest.mark.parametrize("packed", [False, True])
def test_damaged_archives_are_one_sentence_and_write_nothing_elsewhere(tmp_path, packed, count):
    plain = tar_of({name: (name.encode() * 700)[:700] for name in ("a/1", "a/b/2", "a/" + "long" * 60)})
    whole, rng, refused = gzip.compress(plain) if packed else plain, random.Random(0), 0
    root = tmp_path / "deep" / "data"
    root.mkdir(parents=True)
    for _ in range(count):
        damaged = bytearray(whole)
        for _ in range(rng.randint(1, 3)):
            at = rng.randrange(len(whole))
            damaged[at] = rng.randrange(256)
        (root / "set.tar").write_bytes(damaged[: rng.choice([len(damaged), rng.randrange(len(damaged))])])
        try:
            unpack(root / "set.tar", root, {"a"})
        except UserError:
            refused += 1
        assert {path.name for path in root.iterdir()} <= {"set.tar", "a"}
        assert sorted(path.name for path in tmp_path.iterdir()) == ["deep"]
        assert [path.name for path in (tmp_path / "deep").iterdir()] == ["data"]
    assert refused > count / 5  # a tar has no checksum of its files; the archive has, before it is unpacked
