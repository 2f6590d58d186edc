"""Fetching files from a hub and from ordinary servers, with what can go wrong."""

from __future__ import annotations

import errno
import hashlib
import os
import threading
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from fooocus_core.catalog import ModelKind
from fooocus_core.config import CoreConfig, DownloadLists, FetchRules
from fooocus_core.downloads import IP_NEGATIVE, UPSCALER, ModelFile, published_files
from fooocus_core.errors import DownloadError, RunCancelled
from fooocus_core.fetching import Offer, check_room, fetch, find_offer, usable_offer
from fooocus_core.remote_files import HUB
from tests.hub import FakeHub, Fault

CONTENT = bytes(range(256)) * 4000
LARGE = ModelFile(kind=ModelKind.LORA, name="large.safetensors")
SMALL = ModelFile(kind=ModelKind.LORA, name="small.json")
PLAIN = ModelFile(kind=ModelKind.LORA, name="sub/plain.safetensors")
KINDS = pytest.mark.parametrize("file", [LARGE, SMALL, PLAIN], ids=["large", "small", "plain"])


@pytest.fixture
def hub(hub: FakeHub) -> FakeHub:
    hub.put("owner/name/folder/a large one.safetensors", CONTENT)
    hub.put("name/small.json", CONTENT, is_large=False)
    hub.put("plain/a.safetensors", CONTENT)
    return hub


@pytest.fixture
def config(core: CoreConfig, hub: FakeHub, tmp_path: Path) -> CoreConfig:
    addresses = {
        LARGE.name: f"{HUB}/owner/name/resolve/main/folder/a%20large%20one.safetensors",
        SMALL.name: f"{HUB}/name/resolve/main/small.json",
        PLAIN.name: f"{hub.url}/plain/a.safetensors?key=secret",
    }
    return replace(
        core,
        folders=replace(core.folders, loras=(tmp_path / "new", tmp_path / "old"), temp=tmp_path),
        downloads=DownloadLists(checkpoints={}, loras=addresses, embeddings={}, vae={}),
        fetching=FetchRules(is_allowed=True, mirror=hub.url, pauses_s=(0, 0)),
    )


def get(file: ModelFile, config: CoreConfig, **changes: Any) -> Path:
    offer = find_offer(file, config)
    assert offer is not None
    return fetch(replace(offer, **changes), config, on_bytes=lambda *_: None, check=lambda: None)


def answers_before(file: ModelFile) -> list[Fault]:
    """Those to the look-up of a file: an ordinary server is asked by GET, too."""
    return [Fault()] if file is PLAIN else []


def left_over(config: CoreConfig) -> list[Path]:
    """Everything in the folder but what is fetched completely."""
    folder = config.folders.loras[0]
    return [path for path in folder.rglob("*") if path.suffix == ".part"]


@KINDS
def test_a_file_comes_to_the_first_folder_of_its_kind(file: ModelFile, config: CoreConfig) -> None:
    told: list[tuple[int, int | None]] = []
    offer = find_offer(file, config)
    assert offer is not None
    path = fetch(offer, config, on_bytes=lambda *now: told.append(now), check=lambda: None)
    assert path == config.folders.loras[0] / file.name
    assert path.read_bytes() == CONTENT
    assert told[-1] == (len(CONTENT), len(CONTENT))
    assert left_over(config) == []


@KINDS
def test_a_file_that_is_there_is_left_alone(
    file: ModelFile, config: CoreConfig, hub: FakeHub
) -> None:
    path = config.folders.loras[0] / file.name
    path.parent.mkdir(parents=True)
    path.write_text("mine")
    assert get(file, config) == path
    assert (path.read_text(), hub.asked) == ("mine", [])


@KINDS
def test_f19_a_cut_connection_is_resumed(file: ModelFile, config: CoreConfig, hub: FakeHub) -> None:
    cut = len(CONTENT) * 6 // 10
    hub.faults.extend([*answers_before(file), Fault(ends_after=cut)])
    assert get(file, config).read_bytes() == CONTENT
    assert f"bytes={cut}-" in [part for _, _, part in hub.asked]
    assert left_over(config) == []


@KINDS
def test_the_next_call_goes_on_where_the_last_one_gave_up(
    file: ModelFile, config: CoreConfig, hub: FakeHub
) -> None:
    hub.faults.extend([*answers_before(file), Fault(ends_after=70_000), *[Fault(status=503)] * 3])
    with pytest.raises(DownloadError, match="503"):
        get(file, config)
    assert not (config.folders.loras[0] / file.name).exists()
    assert [path.stat().st_size for path in left_over(config)] == [70_000]
    hub.asked.clear()
    assert get(file, config).read_bytes() == CONTENT
    assert "bytes=70000-" in [part for _, _, part in hub.asked]
    assert left_over(config) == []


def test_a_server_that_falls_silent_is_asked_for_the_rest(config: CoreConfig, hub: FakeHub) -> None:
    hub.faults.append(Fault(ends_after=70_000, falls_silent=True))
    rules = replace(config.fetching, silence_s=0.2)
    assert get(LARGE, replace(config, fetching=rules)).read_bytes() == CONTENT
    assert hub.transfers() == [None, "bytes=70000-"]


def test_a_changed_content_is_not_spliced(config: CoreConfig, hub: FakeHub) -> None:
    hub.faults.extend([Fault(), Fault(ends_after=70_000), *[Fault(status=500)] * 3])
    with pytest.raises(DownloadError):
        get(PLAIN, config)
    other = CONTENT[::-1]
    hub.put("plain/a.safetensors", other)
    assert get(PLAIN, config).read_bytes() == other
    assert left_over(config) == []


def test_nothing_is_resumed_that_could_not_be_checked(config: CoreConfig, hub: FakeHub) -> None:
    hub.put("plain/a.safetensors", CONTENT, tells_version=False)
    hub.faults.extend([Fault(), Fault(ends_after=70_000)])
    assert get(PLAIN, config).read_bytes() == CONTENT
    assert {part for _, _, part in hub.asked} == {None}


def test_a_server_without_ranges_begins_anew(config: CoreConfig, hub: FakeHub) -> None:
    hub.put("owner/name/folder/a large one.safetensors", CONTENT, has_ranges=False)
    hub.faults.append(Fault(ends_after=70_000))
    assert get(LARGE, config).read_bytes() == CONTENT


def test_a_server_that_always_ends_at_the_same_place_is_given_up(
    config: CoreConfig, hub: FakeHub
) -> None:
    hub.put("owner/name/folder/a large one.safetensors", CONTENT, has_ranges=False)
    hub.faults.extend([Fault(ends_after=70_000)] * 20)
    with pytest.raises(DownloadError, match="cannot be reached"):
        get(LARGE, config)
    assert len(hub.transfers()) == 3


def test_progress_makes_the_attempts_count_from_the_start(config: CoreConfig, hub: FakeHub) -> None:
    hub.faults.extend([Fault(ends_after=70_000)] * 10)
    assert get(LARGE, config).read_bytes() == CONTENT
    assert len(hub.transfers()) == 11


@pytest.mark.parametrize("refusals", [[503], [429, 500]], ids=["busy", "busy and broken"])
def test_a_busy_server_is_asked_again(
    config: CoreConfig, hub: FakeHub, refusals: list[int]
) -> None:
    hub.refusals.extend(refusals)
    assert get(LARGE, config).read_bytes() == CONTENT


@KINDS
def test_a_missing_file_is_told_with_its_address_and_not_asked_for_again(
    file: ModelFile, config: CoreConfig, hub: FakeHub
) -> None:
    hub.forget()
    with pytest.raises(DownloadError, match="answered with status 404") as raised:
        get(file, config)
    assert hub.url in str(raised.value)
    assert file.name in str(raised.value)
    assert str(config.folders.loras[0]) in str(raised.value)
    assert "secret" not in str(raised.value)
    assert len(hub.asked) == 1


def test_a_refusal_names_the_token(config: CoreConfig, hub: FakeHub) -> None:
    hub.refusals.append(401)
    with pytest.raises(DownloadError, match="HF_TOKEN"):
        get(LARGE, config)


def test_f19_a_wrong_hash_leaves_no_file(config: CoreConfig, hub: FakeHub) -> None:
    hub.put("owner/name/folder/a large one.safetensors", CONTENT, told=CONTENT[::-1])
    with pytest.raises(DownloadError, match=f"sha256 is {hashlib.sha256(CONTENT).hexdigest()}"):
        get(LARGE, config)
    assert not (config.folders.loras[0] / LARGE.name).exists()
    assert left_over(config) == []


@pytest.mark.parametrize("file", [LARGE, PLAIN], ids=["hub", "plain"])
def test_a_published_md5_is_checked(file: ModelFile, config: CoreConfig) -> None:
    with pytest.raises(DownloadError, match="md5"):
        get(file, config, md5="0" * 32)
    assert left_over(config) == []
    assert get(file, config, md5=hashlib.md5(CONTENT).hexdigest()).read_bytes() == CONTENT


def test_a_damaged_beginning_is_fetched_again(config: CoreConfig, hub: FakeHub) -> None:
    hub.faults.extend([Fault(ends_after=70_000), *[Fault(status=503)] * 3])
    with pytest.raises(DownloadError):
        get(LARGE, config)
    (part,) = left_over(config)
    part.write_bytes(bytes(70_000))
    assert get(LARGE, config).read_bytes() == CONTENT


@pytest.mark.parametrize("present", [len(CONTENT), len(CONTENT) + 5], ids=["complete", "too long"])
def test_a_beginning_as_long_as_the_file_or_longer_is_judged_by_its_hash(
    config: CoreConfig, hub: FakeHub, present: int
) -> None:
    hub.faults.extend([Fault(ends_after=70_000), *[Fault(status=503)] * 3])
    with pytest.raises(DownloadError):
        get(LARGE, config)
    (part,) = left_over(config)
    part.write_bytes((CONTENT + bytes(5))[:present])
    hub.asked.clear()
    assert get(LARGE, config).read_bytes() == CONTENT
    assert (len(hub.transfers()) == 0) == (present == len(CONTENT))


def test_a_file_of_another_size_than_the_published_one_is_not_fetched(
    core: CoreConfig, hub: FakeHub
) -> None:
    address = published_files()[IP_NEGATIVE].address
    hub.put(address.removeprefix(f"{HUB}/").replace("/resolve/main/", "/"), CONTENT)
    config = replace(core, fetching=FetchRules(is_allowed=True, mirror=hub.url))
    with pytest.raises(DownloadError, match=rf"{len(CONTENT)} bytes.* published 65616"):
        get(IP_NEGATIVE, config)
    assert hub.transfers() == []


def test_a_file_that_is_longer_than_told_is_refused(config: CoreConfig, hub: FakeHub) -> None:
    hub.put("owner/name/folder/a large one.safetensors", CONTENT, told=CONTENT[:-9])
    with pytest.raises(DownloadError, match=f"{len(CONTENT)} bytes came instead of"):
        get(LARGE, config)
    assert left_over(config) == []


@pytest.mark.parametrize("tells_version", [True, False])
def test_a_file_of_untold_size_is_fetched(
    config: CoreConfig, hub: FakeHub, tells_version: bool
) -> None:
    hub.put("plain/a.safetensors", CONTENT, tells_length=False, tells_version=tells_version)
    told: list[tuple[int, int | None]] = []
    offer = find_offer(PLAIN, config)
    assert offer is not None
    path = fetch(offer, config, on_bytes=lambda *now: told.append(now), check=lambda: None)
    assert (path.read_bytes(), told[-1]) == (CONTENT, (len(CONTENT), None))


def test_a_web_page_is_no_model_file(config: CoreConfig, hub: FakeHub) -> None:
    hub.put("plain/a.safetensors", b"<html>", kind="text/html; charset=utf-8")
    with pytest.raises(DownloadError, match="web page"):
        get(PLAIN, config)


@pytest.mark.parametrize("file", [LARGE, PLAIN], ids=["hub", "plain"])
def test_without_a_network_the_cause_is_told(
    file: ModelFile, config: CoreConfig, hub: FakeHub
) -> None:
    hub.close()
    with pytest.raises(DownloadError, match="cannot be reached: .*refused"):
        get(file, config)


@pytest.mark.parametrize(
    "address", ["ftp://a.example/x", "nowhere", "file:///etc/passwd", "http://["]
)
def test_other_addresses_are_refused(config: CoreConfig, address: str) -> None:
    with pytest.raises(DownloadError, match=r"no http\(s\) address"):
        get(PLAIN, config, address=address)


def test_an_address_with_control_characters_is_refused(config: CoreConfig) -> None:
    with pytest.raises(DownloadError, match="non-printable"):
        get(PLAIN, config, address="http://a.example/\x07")


def test_a_name_that_is_none_of_the_hub_is_refused(config: CoreConfig, hub: FakeHub) -> None:
    with pytest.raises(DownloadError, match="no file of the hub"):
        get(PLAIN, config, address=f"{HUB}/owner/--name--/resolve/main/a")
    assert hub.asked == []


def test_a_file_that_finds_no_room_is_not_begun(config: CoreConfig, hub: FakeHub) -> None:
    offer = find_offer(LARGE, config)
    assert offer is not None
    with pytest.raises(DownloadError, match=r"No space.*1000\.0 TB are needed in"):
        check_room([replace(offer, rough_size=10**15)])
    hub.put("plain/a.safetensors", CONTENT, tells_length=False)
    with pytest.raises(DownloadError, match=r"No space"):
        get(PLAIN, config, size=10**15)
    assert [path.stat().st_size for path in left_over(config)] == [0]


def test_files_have_to_find_room_together(config: CoreConfig) -> None:
    offer = find_offer(LARGE, config)
    assert offer is not None
    free = os.statvfs(config.folders.temp)
    half = free.f_bavail * free.f_frsize * 6 // 10
    check_room([replace(offer, rough_size=half)])
    with pytest.raises(DownloadError, match="No space"):
        check_room([replace(offer, rough_size=half)] * 2)


def test_what_is_there_of_a_file_needs_no_room_again(config: CoreConfig, hub: FakeHub) -> None:
    hub.faults.extend([Fault(ends_after=70_000), *[Fault(status=503)] * 3])
    with pytest.raises(DownloadError):
        get(LARGE, config)
    offer = find_offer(LARGE, config)
    assert offer is not None
    free = os.statvfs(config.folders.temp)
    most = free.f_bavail * free.f_frsize
    (part,) = left_over(config)
    # Takes no room itself, as nothing is written into it.
    os.truncate(part, most)
    check_room([replace(offer, rough_size=most + 10**6)])
    part.unlink()
    with pytest.raises(DownloadError, match="No space"):
        check_room([replace(offer, rough_size=most + 10**9)])


def test_only_the_parts_of_the_same_file_are_removed(config: CoreConfig) -> None:
    folder = config.folders.loras[0]
    folder.mkdir()
    own, other = f"{LARGE.name}.{'0' * 12}.part", f"{LARGE.name}.2.{'0' * 12}.part"
    for name in (own, other):
        (folder / name).touch()
    get(LARGE, config)
    assert [path.name for path in left_over(config)] == [other]


def test_a_disk_that_gets_full_is_told_and_what_came_is_kept(
    config: CoreConfig, hub: FakeHub
) -> None:
    hub.faults.extend([Fault(ends_after=0), *[Fault(status=503)] * 3])
    with pytest.raises(DownloadError):
        get(LARGE, config)
    (part,) = left_over(config)
    part.unlink()
    part.symlink_to("/dev/full")
    with pytest.raises(DownloadError, match=os.strerror(errno.ENOSPC)):
        get(LARGE, config)
    assert not (config.folders.loras[0] / LARGE.name).exists()
    part.unlink()
    assert get(LARGE, config).read_bytes() == CONTENT


def test_a_folder_that_cannot_be_made_is_told(config: CoreConfig, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    folders = replace(config.folders, loras=(tmp_path / "file" / "loras",))
    with pytest.raises(DownloadError, match=r"could not be fetched into .*file/loras: .*Not a dir"):
        get(LARGE, replace(config, folders=folders))


def test_a_stop_is_seen_and_what_came_is_kept(config: CoreConfig, hub: FakeHub) -> None:
    hub.faults.append(Fault(ends_after=300_000))
    stopped = threading.Event()

    def check() -> None:
        if stopped.is_set():
            raise RunCancelled

    offer = find_offer(LARGE, config)
    assert offer is not None
    config = replace(config, fetching=replace(config.fetching, pauses_s=(60,)))
    with pytest.raises(RunCancelled):
        fetch(offer, config, on_bytes=lambda *_: stopped.set(), check=check)
    assert not offer.target.exists()
    (part,) = left_over(config)
    assert 0 < part.stat().st_size <= 300_000


def test_the_licence_is_told_once(config: CoreConfig, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("INFO", logger="fooocus_core"):
        get(LARGE, config, licence="OpenRAIL++-M")
        get(LARGE, config, licence="OpenRAIL++-M")
    assert caplog.text.count("OpenRAIL++-M") == 1
    assert "secret" not in caplog.text


def test_two_at_a_time_fetch_a_file_once(config: CoreConfig, hub: FakeHub) -> None:
    threads = [threading.Thread(target=get, args=(LARGE, config)) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert (config.folders.loras[0] / LARGE.name).read_bytes() == CONTENT
    assert len(hub.transfers()) == 1


def test_the_token_of_the_hub_goes_to_no_other_origin(
    config: CoreConfig, hub: FakeHub, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HF_TOKEN", "hf_secret")
    get(LARGE, config)
    sent = {path.split("/")[1]: token for path, token in hub.tokens}
    assert sent == {"owner": "Bearer hf_secret", "store": None}


def test_nothing_is_fetched_unless_allowed(config: CoreConfig, hub: FakeHub) -> None:
    off = replace(config, fetching=FetchRules())
    assert usable_offer(LARGE, off) is None
    with pytest.raises(DownloadError, match="switched off"):
        get(LARGE, off)
    assert hub.asked == []


@pytest.mark.parametrize(
    ("file", "is_skipped"),
    [
        (LARGE, True),
        (ModelFile(kind=ModelKind.CHECKPOINT, name="sd_xl_base_1.0_0.9vae.safetensors"), True),
        (ModelFile(kind=ModelKind.LORA, name="sdxl_lcm_lora.safetensors"), False),
        (UPSCALER, False),
    ],
    ids=["listed", "published", "of a mode", "of a feature"],
)
def test_models_that_presets_choose_can_be_left_out(
    file: ModelFile, is_skipped: bool, config: CoreConfig
) -> None:
    assert usable_offer(file, config) is not None
    rules = replace(config.fetching, skips_presets=True)
    assert (usable_offer(file, replace(config, fetching=rules)) is None) is is_skipped


def test_a_file_without_an_address_cannot_be_fetched(config: CoreConfig) -> None:
    assert find_offer(replace(LARGE, name="mine.safetensors"), config) is None


@pytest.mark.parametrize(
    "name", ["../a", "a/../../b", "/a", "..\\a", "C:\\a", "C:a", "\\\\server\\share\\a", "a\0", ""]
)
def test_a_listed_name_never_leads_out_of_the_folder(name: str, config: CoreConfig) -> None:
    lists = replace(config.downloads, loras={name: "https://a.example/a"})
    file = ModelFile(kind=ModelKind.LORA, name=name)
    assert find_offer(file, replace(config, downloads=lists)) is None


def test_sizes_and_hashes_are_those_of_the_published_address_only(config: CoreConfig) -> None:
    offer = find_offer(UPSCALER, config)
    assert offer is not None
    assert (offer.size, offer.rough_size) == (33_636_613, 33_636_613)
    lora = ModelFile(kind=ModelKind.LORA, name="sdxl_lightning_4step_lora.safetensors")
    lists = replace(config.downloads, loras={lora.name: "https://a.example/a"})
    other = find_offer(lora, replace(config, downloads=lists))
    assert isinstance(other, Offer)
    assert (other.size, other.rough_size, other.licence) == (None, None, None)
