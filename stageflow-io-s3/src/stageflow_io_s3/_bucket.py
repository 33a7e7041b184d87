"""Bucket: the calls to a store, made in worker threads.

obstore's synchronous calls work on every event loop and end cleanly with the interpreter; its
asynchronous ones need asyncio, and threads of theirs may abort the process as it exits.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from functools import partial
from typing import TYPE_CHECKING, Any, Final, TypeVar, cast
from urllib.parse import urlsplit

import anyio
import anyio.lowlevel
import anyio.to_thread

from stageflow.contracts.storage import StorageClosedError, StorageError
from stageflow_io_s3._requests import ListedObject, ListedPage, SignedRequests
from stageflow_io_s3._translation import code_in, translated
from stageflow_io_s3.errors import ConnectionSettingsError
from stageflow_io_s3.settings import S3Settings

if TYPE_CHECKING:
    from botocore.credentials import Credentials
    from obstore import GetResult, PutMode
    from obstore.store import ObjectStore

__all__ = ("Bucket", "ConditionMissed", "Missing", "Stopped", "go_on", "is_conditional")

T = TypeVar("T")

_CONFLICTS: Final = 5
_PAGES_AT_ONCE: Final = 10
# No control characters, and no segment that is empty, `.` or `..`: so obstore has its paths.
_PATH: Final = re.compile(r"(?!(?:.*/)?\.{0,2}(?:/|\Z))[^\x00-\x1f\x7f]+")
_PROBE: Final = ".stageflow-probe-"


class Missing(Exception):
    """There is no such object."""


class ConditionMissed(Exception):
    """The object is not the expected one, so nothing was written."""


class Stopped(Exception):
    """The caller does not want the rest any more."""


class Bucket:
    """One place in a store; opened with its first call.

    Args:
        settings: The place, and how it is reached.
    """

    def __init__(self, settings: S3Settings) -> None:
        settings.check()
        self.settings: Final = settings
        self.name: Final = settings.url
        self._lock = threading.Lock()
        self._who: tuple[str, Callable[[], Credentials] | None] | None = None
        self._store: ObjectStore | None = None
        self._requests: SignedRequests | None = None
        self._is_closed = False
        self._limiter: anyio.CapacityLimiter | None = None

    # --- from the event loop ------------------------------------------------------------

    async def run(self, call: Callable[..., T], *arguments: Any) -> T:
        """Return what *call* returns, made in a worker thread; it comes to its end."""
        self.check_open()
        limiter = self._limiter
        if limiter is None:
            limiter = self._limiter = anyio.CapacityLimiter(self.settings.concurrency)
        with translated(self.name):
            return await anyio.to_thread.run_sync(call, *arguments, limiter=limiter)

    async def run_until_cancelled(self, call: Callable[[threading.Event], T]) -> T:
        """Return what *call* returns; it is given an event that is set when nobody waits any more.

        It has ended when this returns, also when this is cancelled.
        """
        stop = threading.Event()
        result: list[T] = []

        async def watch() -> None:
            try:
                await anyio.sleep_forever()
            finally:
                stop.set()

        try:
            async with anyio.create_task_group() as group:
                group.start_soon(watch)
                await anyio.lowlevel.checkpoint()
                with anyio.CancelScope(shield=True), suppress(Stopped):
                    result.append(await self.run(call, stop))
                group.cancel_scope.cancel()
        except BaseExceptionGroup as errors:
            if len(errors.exceptions) == 1:
                raise errors.exceptions[0] from errors.exceptions[0].__cause__
            raise
        if not result:  # it stopped because this call is cancelled
            await anyio.lowlevel.checkpoint()
        return result[0]

    async def aclose(self) -> None:
        """Refuse further calls; again is no error."""
        self._is_closed = True
        if self._requests is not None:
            self._requests.close()
        await anyio.lowlevel.checkpoint()

    def check_open(self) -> None:
        """Return if it has not been closed.

        Raises:
            StorageClosedError: It has.
        """
        if self._is_closed:
            raise StorageClosedError(self.name)

    # --- in a worker thread -------------------------------------------------------------

    @property
    def store(self) -> ObjectStore:
        """The store of obstore."""
        with self._lock:
            if self._store is None:
                self._store = _s3_store(self) if self.settings.is_s3 else _other_store(self)
            return self._store

    @property
    def requests(self) -> SignedRequests | None:
        """What else can be asked; None if it is no S3."""
        with self._lock:
            if self._requests is None and self.settings.is_s3:
                self._requests = _signed_requests(self)
            return self._requests

    def identity(self) -> tuple[str, Callable[[], Credentials] | None]:
        """Return the region, and what gives credentials; None to ask without. Needs the lock."""
        if self._who is None:
            settings = self.settings
            is_known = not settings.anonymous
            self._who = settings.identity() if is_known else (settings.region or "us-east-1", None)
        return self._who

    def get(self, key: str, *, head: bool = False) -> GetResult:
        """Return what is there, or what is told of it.

        Raises:
            Missing: Nothing is there.
        """
        import obstore

        try:
            return obstore.get(self.store, self._path(key), options={"head": head})
        except FileNotFoundError as error:
            raise self._missing(error) from None

    def put(
        self,
        key: str,
        body: bytes | memoryview,
        attributes: Mapping[str, str],
        mode: PutMode | None = None,
    ) -> str | None:
        """Write in one request, and return the object's tag.

        Raises:
            ConditionMissed: The object is not the one that *mode* expects.
        """
        import obstore
        from obstore import exceptions

        path = self._path(key)
        for _ in range(_CONFLICTS):
            try:
                done = obstore.put(
                    self.store,
                    path,
                    body,
                    attributes=dict(attributes),
                    mode=mode,
                    use_multipart=False,
                )
            except (exceptions.AlreadyExistsError, exceptions.PreconditionError) as error:
                if code_in(str(error)) != "ConditionalRequestConflict":
                    raise ConditionMissed from None
            except FileNotFoundError as error:
                missing = self._missing(error)
                raise (missing if mode is None else ConditionMissed()) from None
            else:
                return done["e_tag"]
        raise ConditionMissed

    def put_parts(
        self,
        key: str,
        view: memoryview,
        attributes: Mapping[str, str],
        stop: threading.Event,
    ) -> str | None:
        """Write in parts, and return the object's tag; the upload is aborted if that fails.

        Raises:
            Stopped: *stop* was set before all was sent.
        """
        import obstore

        size = self.settings.part_size

        def parts() -> Iterator[memoryview]:
            for start in range(0, len(view), size):
                go_on(stop)
                yield view[start : start + size]
            go_on(stop)

        try:
            done = obstore.put(
                self.store,
                self._path(key),
                parts(),
                attributes=dict(attributes),
                use_multipart=True,
                chunk_size=size,
                max_concurrency=self.settings.part_concurrency,
            )
        except FileNotFoundError as error:
            raise self._missing(error) from None
        return done["e_tag"]

    def delete(self, key: str) -> None:
        """Delete the object; none is no error."""
        import obstore

        with suppress(FileNotFoundError):
            obstore.delete(self.store, self._path(key))

    def list_page(self, prefix: str, after: str = "", size: int = 1_000) -> ListedPage:
        """Return objects whose keys begin with *prefix* and come after *after*, by their keys."""
        if self.requests is not None:
            return self.requests.list_page(prefix, after, size)
        import obstore

        folder = prefix.rpartition("/")[0] or None
        stream = obstore.list(self.store, folder, offset=after or None, chunk_size=size)
        found = [
            ListedObject(
                meta["path"],
                meta["size"],
                (meta["e_tag"] or "").strip('"'),
                meta["last_modified"].isoformat(),
            )
            for chunk in stream
            for meta in chunk
            if meta["path"].startswith(prefix)
        ]
        found.sort(key=lambda each: each.key)
        return ListedPage(found[:size], len(found) <= size)

    def list_pages(self, prefix: str, after: str, size: int, most: int) -> ListedPage:
        """Return what *most* pages hold at most, of *size* objects each."""
        if self.requests is None:
            return self.list_page(prefix, after, size * most)
        objects: list[ListedObject] = []
        for _ in range(most):
            page = self.list_page(prefix, after, size)
            objects += page.objects
            if page.is_last or not page.objects:
                return ListedPage(objects, is_last=True)
            after = page.objects[-1].key
        return ListedPage(objects, is_last=False)

    def list_all(self, prefix: str) -> Iterator[ListedObject]:
        """Give every object whose key begins with *prefix*, in the order of the keys."""
        after = ""
        while True:
            page = self.list_pages(prefix, after, 1_000, _PAGES_AT_ONCE)
            yield from page.objects
            if page.is_last or not page.objects:
                return
            after = page.objects[-1].key

    def clean_up(self, prefix: str, older_than: datetime) -> int:
        """End uploads that were begun before *older_than* and given no part since; return how many.

        A writer that is still at work has sent a part lately.
        """
        requests = self.requests
        if requests is None:
            return 0
        count = 0
        for upload in list(requests.uploads(prefix)):
            if upload.begun < older_than and (
                (newest := requests.newest_part(upload)) is None or newest < older_than
            ):
                requests.abort(upload)
                count += 1
        return count

    def probe(self) -> bool:
        """Return whether the store keeps both conditions, having tried; no if it may not try."""
        from obstore import exceptions

        key = f"{self.settings.base}{_PROBE}{uuid.uuid4().hex}"
        try:
            tag = self.put(key, b"1", {}, "create")
            for mode in ("create", {"e_tag": '"0123456789abcdef0123456789abcdef"'}):
                try:
                    self.put(key, b"2", {}, cast("Any", mode))
                except ConditionMissed:
                    continue
                return False
            self.put(key, b"3", {}, {"e_tag": tag})
        except (exceptions.NotSupportedError, ConditionMissed):
            return False
        finally:
            with suppress(StorageError, exceptions.BaseError):
                self.delete(key)
        return True

    def _path(self, key: str) -> str:
        """Return the key, if obstore takes it for itself and not for another one.

        Raises:
            StorageError: It does not.
        """
        # It would leave out slashes at both ends, and with them take another object.
        if key.strip("/") != key or not _PATH.fullmatch(key):
            raise StorageError(
                f"{self.name} has no access to the object with the key {key!r:.200}.",
                storage=self.name,
                hint="The driver takes no key with an empty segment, `.`, `..` or a control "
                "character; copy the object to another key, or leave it out by prefix or suffix.",
            )
        return key

    def _missing(self, error: FileNotFoundError) -> Exception:
        # `translated` makes the error of a missing bucket from this one.
        return error if code_in(str(error)) == "NoSuchBucket" else Missing()

    def __repr__(self) -> str:
        return f"Bucket({self.name!r})"


def is_conditional(settings: S3Settings) -> bool | None:
    """Return whether a store has conditional writes; None if that must be tried."""
    if settings.is_s3:
        return None if settings.address("s3") else True
    return urlsplit(settings.url).scheme != "file"


def go_on(stop: threading.Event) -> None:
    """Return if somebody still waits.

    Raises:
        Stopped: Nobody does.
    """
    if stop.is_set():
        raise Stopped


def _client(settings: S3Settings, address: str | None = None) -> dict[str, Any]:
    return {
        "client_options": {
            "timeout": timedelta(seconds=settings.timeout),
            "connect_timeout": timedelta(seconds=settings.connect_timeout),
            "allow_http": (address or "").startswith("http://"),
        },
        "retry_config": {
            "max_retries": settings.retries,
            "retry_timeout": timedelta(seconds=settings.retry_timeout),
            "backoff": {
                "init_backoff": timedelta(milliseconds=100),
                "max_backoff": timedelta(seconds=5),
                "base": 2,
            },
        },
    }


def _is_path_style(settings: S3Settings) -> bool:
    said = settings.path_style
    return settings.address("s3") is not None if said is None else said


def _s3_store(bucket: Bucket) -> ObjectStore:
    from obstore.store import S3Store

    settings = bucket.settings
    address = settings.address("s3")
    region, credentials = bucket.identity()
    config: Any = {
        "region": region,
        "skip_signature": credentials is None,
        "virtual_hosted_style_request": not _is_path_style(settings),
        **({"endpoint": address} if address else {}),
        **({"server_side_encryption": settings.encryption} if settings.encryption else {}),
        **({"sse_kms_key_id": settings.kms_key_id} if settings.kms_key_id else {}),
        **({"checksum_algorithm": settings.checksum} if settings.checksum else {}),
        **settings.options,
    }
    # Also who asks without credentials gives some: else the environment would be looked into.
    provider = partial(_obstore_credentials, credentials) if credentials else _no_credentials
    return S3Store(
        settings.bucket, config=config, credential_provider=provider, **_client(settings, address)
    )


def _signed_requests(bucket: Bucket) -> SignedRequests:
    settings = bucket.settings
    region, credentials = bucket.identity()
    return SignedRequests(
        bucket=settings.bucket,
        address=settings.address("s3"),
        region=region,
        credentials=credentials,
        path_style=_is_path_style(settings),
        timeouts=(settings.connect_timeout, settings.timeout),
        retries=settings.retries,
        retry_timeout=settings.retry_timeout,
        storage=bucket.name,
    )


def _no_credentials() -> Any:
    return {"access_key_id": "", "secret_access_key": "", "token": None, "expires_at": None}


def _obstore_credentials(credentials: Callable[[], Any]) -> Any:
    found = credentials()
    frozen = found.get_frozen_credentials()
    return {
        "access_key_id": frozen.access_key,
        "secret_access_key": frozen.secret_key,
        "token": frozen.token,
        # Those of a session renew themselves: ask again before they can have run out.
        "expires_at": getattr(found, "_expiry_time", None),
    }


def _other_store(bucket: Bucket) -> ObjectStore:
    from obstore.exceptions import BaseError
    from obstore.store import MemoryStore, from_url

    url = bucket.settings.url
    scheme = urlsplit(url).scheme
    if scheme == "memory":
        return MemoryStore()
    try:
        made: Any = from_url(url, **_client(bucket.settings), **bucket.settings.options)
    except (BaseError, ValueError, TypeError) as error:
        raise ConnectionSettingsError(
            f"No store of the kind {scheme!r} can be made of the settings.",
            hint="Look at the url, and at options, which are those of obstore.",
        ) from error
    return cast("ObjectStore", made)
