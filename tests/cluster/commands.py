"""What the tests do with commands of bgexp: wait for a moment, for the end, look for secrets."""

import base64
from time import monotonic, sleep

import psutil


def wait_until(condition, process, seconds=300):
    end = monotonic() + seconds
    while not condition():
        assert process.poll() is None, process.communicate()[0]
        assert monotonic() < end
        sleep(0.02)


def finish(process):
    """Wait for a command; return its exit code and what it printed."""
    output, _ = process.communicate(timeout=600)
    return process.returncode, output


def list_secrets_shown(team, *folders):
    """Where a password or a key stands: in files of these folders, in the process list."""
    logins = [f"{user}:{password}" for user, password in team.passwords.items()]
    hidden = team.secrets | {base64.b64encode(login.encode()).decode() for login in logins}
    places = {
        str(path): path.read_bytes()
        for folder in folders
        for path in folder.rglob("*")
        if path.is_file()
    }
    for process in psutil.process_iter():
        try:
            places[f"process {process.pid}"] = " ".join(process.cmdline()).encode()
        except psutil.Error:
            continue
    assert len(places) > 10
    return [place for place, text in places.items() if any(s.encode() in text for s in hidden)]
