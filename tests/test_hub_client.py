"""What huggingface_hub's own download does with the faults that we promise to bear.

These are the measured reasons of docs/adr/0010-what-the-hubs-client-does.md for fetching files
ourselves. A test that fails here is good news: the client has mended that fault, and the lines of
ours that it forces can go.
"""

import pytest
from hub_server.faults import Fault

DOWNLOAD = """
import threading
from huggingface_hub import hf_hub_download, get_session, set_client_factory
def download():
    path = hf_hub_download("alice/m", "model.safetensors", revision={commit!r})
    print("done", open(path, "rb").read() == bytes(300_000))
thread = threading.Thread(target=download, daemon=True)
thread.start()
thread.join({seconds})
print("waiting" if thread.is_alive() else "ended", flush=True)
"""
FACTORY = """
import threading, time
from huggingface_hub import get_session, set_client_factory
session = get_session()
def fetch():
    try:
        with session.stream("GET", {url!r}, follow_redirects=True) as response:
            print("whole", len(response.read()))
    except Exception as error:
        print("cut", isinstance(error, Exception))
thread = threading.Thread(target=fetch)
thread.start()
time.sleep(1.5)
set_client_factory(lambda: type(session)())
thread.join()
"""


@pytest.fixture
def commit(hub):
    return hub.add("alice/m", {"model.safetensors": bytes(300_000)})


def said(hub, tmp_path, commit, seconds):
    done = hub.run(DOWNLOAD.format(commit=commit, seconds=seconds), tmp_path)
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines()


def test_it_sends_a_head_and_a_get_for_each_file(hub, tmp_path, commit):
    assert said(hub, tmp_path, commit, 60) == ["done True", "ended"]
    assert [method for method, _ in hub.requests] == ["HEAD", "GET"]


def test_it_takes_other_bytes_of_the_right_size(hub, tmp_path, commit):
    hub.faults.append(Fault("GET /lfs/*", flip=True))
    assert said(hub, tmp_path, commit, 60) == ["done False", "ended"]


@pytest.mark.parametrize(
    "fault",
    [
        Fault("GET /lfs/*", times=None, status=429, headers={"Retry-After": "1000000000"}),
        Fault("GET /lfs/*", times=None, stall=0.1, pace=0.2),
        Fault("GET /lfs/*", times=None, drip="headers", pace=0.2),
        Fault("GET /lfs/*", times=None, drip="continue", pace=0.2),
    ],
    ids=["Retry-After", "a slow body", "slow headers", "100 Continue"],
)
@pytest.mark.slow
def test_it_waits_as_long_as_a_server_likes(hub, tmp_path, commit, fault):
    hub.faults.append(fault)
    assert said(hub, tmp_path, commit, 20) == ["waiting"]


def test_a_client_of_ones_own_cuts_what_others_are_fetching(hub, tmp_path, commit):
    """The factory belongs to the whole process, and setting one closes the client in use."""
    hub.faults.append(Fault("GET /lfs/*", stall=0.2, pace=0.01))
    url = f"{hub.url}/alice/m/resolve/{commit}/model.safetensors"
    done = hub.run(FACTORY.format(url=url), tmp_path)
    assert done.stdout == "cut True\n", done.stderr
