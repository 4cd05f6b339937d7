"""Where pictures come from. Sources known by name are in `SOURCES`: one entry adds one."""

import difflib
import shlex
import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from penultimate import console, environment
from penultimate.errors import UserError
from penultimate.params import Data
from penultimate.sources import archives, arrangement, download, walker, wheels


@dataclass(frozen=True, kw_only=True)
class Source:
    """A set of pictures: how to get it, and what is known about it.

    `bring(scratch, sha256)` returns the folder that holds the class or split folders: one that it made in `scratch`,
    or the user's own, which is only read. `sha256` is the user's `data.sha256`.
    """

    name: str
    origin: str
    bring: Callable[[Path, str | None], Path]
    licence: str | None = None
    homepage: str | None = None
    attribution: str | None = None
    content_sha256: str | None = None


def fetch(data: Data, into: Path) -> dict[str, Any]:
    """Bring the pictures of `data.source` into the folder `into`, in place of what is there.

    Returns:
        What is known about them: name, origin, licence, homepage, attribution, counts per class or per split and
        class, a digest of their paths and bytes, and the pictures that were left out, each with the reason. Nothing in
        it depends on this machine.

    Raises:
        UserError: the source cannot be had, is not what it should be, or cannot be seen as classes of pictures;
            nothing half-made is left in `into`.
    """
    scratch = into.with_name(f".{into.name}.scratch")  # beside it: what was unpacked is moved, not copied
    shutil.rmtree(scratch, ignore_errors=True)  # a killed run may have left it
    try:
        source = SOURCES.get(data.source) or _own(data, into)
        scratch.mkdir(parents=True)
        folder = source.bring(scratch, data.sha256)
        shown = download.public_url(data.source) if "://" in data.source else data.source
        arranged = arrangement.arrange(folder, shown, data.classes)
        if into.exists():
            shutil.rmtree(into)
        try:
            digest = _put(source, arranged, into, root=folder, move=folder.is_relative_to(scratch))
        except BaseException:
            shutil.rmtree(into, ignore_errors=True)
            raise
    except OSError as error:
        raise UserError(f"{error.filename}: {error.strerror}" if error.filename else str(error)) from None
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    _report(source, arranged.groups)
    return {
        "name": source.name,
        "origin": source.origin,
        "licence": source.licence or "not known",
        "homepage": source.homepage,
        "attribution": source.attribution,
        "counts": arrangement.counts_of(arranged.groups),
        "content_sha256": digest,
        "left_out": [asdict(each) for each in sorted(arranged.left_out, key=lambda each: each.path)],
    }


def _put(source: Source, arranged: arrangement.Arrangement, into: Path, *, root: Path, move: bool) -> str:
    """Put the pictures into their place: the digest of their paths and bytes, which must be the published one."""
    hashes = arrangement.put_all(arranged, into, root=root, move=move, what=f"arranging {source.name}")
    digest = arrangement.content_sha256(hashes)
    if source.content_sha256 not in {None, digest}:
        raise UserError(
            f"{source.name}: its pictures are not the published ones (content sha256 {digest}, expected "
            f"{source.content_sha256}): the publisher may have changed them"
        )
    return digest


def _bring_elpv(scratch: Path, sha256: str | None) -> Path:
    """Sort the wheel's pictures by their label. It is read as an archive: nothing of it is imported."""
    pinned = "85e31c1126ee9b48e62d3a0232c58f58b2d189b0814a45c13642fa0415af4a4c"
    if sha256 and not pinned.startswith(sha256):
        raise UserError(f"data.sha256 = {sha256}: elpv's archive is pinned to {pinned}; leave the key empty")
    wheel = wheels.fetch_wheel("elpv-dataset", "1.0.0.post1", pinned)
    archives.unpack(wheel, scratch / "wheel", wanted=lambda name: name.startswith("elpv_dataset/data/"))
    unpacked = scratch / "wheel" / "elpv_dataset" / "data"
    for line in (unpacked / "labels.csv").read_text(encoding="utf-8").splitlines():
        picture, probability, _cell_type = line.split()
        label = "defective" if float(probability) > 0.5 else "functional"
        target = scratch / "elpv" / label / Path(picture).name
        target.parent.mkdir(parents=True, exist_ok=True)
        (unpacked / picture).replace(target)
    return scratch / "elpv"


def _bring_url(url: str) -> Callable[[Path, str | None], Path]:
    def bring(scratch: Path, sha256: str | None) -> Path:
        return _unpacked(download.fetch(url, sha256=sha256), scratch)

    return bring


def _bring_archive(archive: Path) -> Callable[[Path, str | None], Path]:
    def bring(scratch: Path, sha256: str | None) -> Path:
        if sha256:
            download.require_sha256(archive, sha256, shown=str(archive))
        return _unpacked(archive, scratch)

    return bring


def _bring_folder(folder: Path) -> Callable[[Path, str | None], Path]:
    def bring(_scratch: Path, sha256: str | None) -> Path:
        if sha256:
            raise UserError(f"data.sha256 = {sha256}: applies to archives, and {folder} is a folder; leave it empty")
        return folder

    return bring


def _unpacked(archive: Path, scratch: Path) -> Path:
    # All of it: what is no picture is counted where folders are looked at.
    archives.unpack(archive, scratch / "unpacked")
    return scratch / "unpacked"


HYMENOPTERA_URL = "https://download.pytorch.org/tutorial/hymenoptera_data.zip"
SOURCES = {
    source.name: source
    for source in (
        Source(
            name="elpv",
            origin="Python wheel elpv-dataset 1.0.0.post1",
            bring=_bring_elpv,
            licence="CC BY-NC-SA 4.0",
            homepage="https://github.com/zae-bayern/elpv-dataset",
            attribution=(
                "Deitsch et al. 2019, Automatic classification of defective photovoltaic module cells in "
                "electroluminescence images, doi:10.1016/j.solener.2019.02.067; Buerhop-Lutz et al. 2018, A benchmark "
                "for visual identification of defective solar cells in electroluminescence imagery, "
                "doi:10.4229/35thEUPVSEC20182018-5CV.3.15"
            ),
            # 821 defective, 1,803 functional
            content_sha256="83f1288dab5325f497973e74260b2d572c85247811cc8942933b981cbc406b06",
        ),
        Source(
            name="hymenoptera",
            origin=HYMENOPTERA_URL,
            bring=_bring_url(HYMENOPTERA_URL),
            licence="not stated by its publisher (pictures from ImageNet)",
            homepage="https://docs.pytorch.org/tutorials/beginner/transfer_learning_tutorial.html",
            content_sha256="ed5c29da93340c525d6a6a72edd8db3c804cf9899d946fc2ac967955741824c0",
        ),
    )
}


def _own(data: Data, into: Path) -> Source:
    """The user's own pictures. The name is the last part of the path: the rest is nobody else's business."""
    if "://" in data.source:
        url = download.public_url(data.source)
        return Source(name=PurePosixPath(url).name, origin=url, bring=_bring_url(data.source))
    try:
        path = environment.local_path(data.source).resolve()
    except RuntimeError as error:  # a loop of links, or ~ of a user who is not there
        raise UserError(f"data.source = {data.source}: {error}") from None
    _require_apart(path, into.resolve())
    if path.is_dir():
        source = Source(name=path.name, origin="local folder", bring=_bring_folder(path))
    elif path.is_file() and archives.is_archive(path.name):
        source = Source(name=path.name, origin="local archive", bring=_bring_archive(path))
    elif path.exists():
        known = ", ".join(archives.SUFFIXES)
        raise UserError(f"data.source = {data.source}: neither a folder nor an archive ({known})")
    else:
        near = difflib.get_close_matches(data.source, SOURCES, n=1)
        hint = f"did you mean {near[0]}?" if near else f"nothing is at {path}"
        known = ", ".join(SOURCES)
        raise UserError(f"data.source = {data.source}: not a known source ({known}), nor a path that exists; {hint}")
    if (environment.project_root() / data.watch).resolve() != path:
        reason = walker.unwatchable(path)
        fix = f"-S {shlex.quote(f'data.watch={path}')}"
        todo = f"DVC could not read {reason}; `dvc repro -f fetch_data` looks again" if reason else f"add {fix}"
        console.warn(f"data.source = {data.source} is not watched: later changes in it go unnoticed; {todo}")
    return source


def _require_apart(path: Path, into: Path) -> None:
    if path == into or path in into.parents or into in path.parents:
        raise UserError(
            f"data.source = {path}: overlaps {into}, which this stage replaces; move the pictures elsewhere"
        )


def _report(source: Source, groups: arrangement.Groups) -> None:
    if source.licence:
        console.say(f"{source.name}: licence {source.licence}")
    for split in sorted({key[:-1] for key in groups}):
        counts = {key[-1]: len(pictures) for key, pictures in groups.items() if key[:-1] == split}
        where = " ".join((source.name, *split))
        each = console.counts_in_words(counts)
        console.say(f"{where}: {sum(counts.values()):,} pictures in {len(counts):,} classes: {each}")
