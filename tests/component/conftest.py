"""What tests of this folder share: an S3 server, which starts when the first of them wants it."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from tests.kits.s3_server import s3_folders


@pytest.fixture(scope="session")
def s3_folder() -> Iterator[Callable[[], str]]:
    """Gives the URL of a new folder in a bucket each time."""
    pytest.importorskip("boto3")
    pytest.importorskip("moto")
    with s3_folders() as new_folder:
        yield new_folder
