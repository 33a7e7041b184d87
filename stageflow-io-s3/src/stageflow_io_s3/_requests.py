"""Requests that obstore has no call for: listing keys as they are, and multipart uploads.

obstore lists by folders and refuses a whole page for a key such as `a//b`; and it neither lists
nor ends uploads that somebody else has begun. botocore signs and sends; its parsers are too slow.
"""

from __future__ import annotations

import random
import re
import time
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final, NamedTuple
from urllib.parse import quote, unquote_plus, urlsplit
from xml.etree.ElementTree import Element, ParseError, fromstring

import attrs

from stageflow.contracts.storage import StorageUnavailableError
from stageflow_io_s3._translation import answer_error

if TYPE_CHECKING:
    from botocore.credentials import Credentials

__all__ = ("ListedObject", "ListedPage", "SignedRequests", "Upload")

_FIRST_PAUSE: Final = 0.1
_LONGEST_PAUSE: Final = 5.0
_FIELDS: Final = tuple(
    re.compile(f"<{name}>{text}</{name}>")
    for name, text in (
        ("Key", "([^<&]+)"),
        ("Size", "([0-9]+)"),
        ("ETag", '(?:"|&quot;|&#34;)?([^<&"]*)(?:"|&quot;|&#34;)?'),
        ("LastModified", "([^<&]+)"),
    )
)
_NAMESPACE: Final = re.compile(rb' xmlns="[^"]*"')


class ListedObject(NamedTuple):
    """What a listing tells of an object; a tuple, since there are many.

    Attributes:
        key: The key, as it is.
        size: Its bytes.
        etag: Its tag, without quotes.
        modified: When it was written, as the service writes it.
    """

    key: str
    size: int
    etag: str
    modified: str


@attrs.frozen
class ListedPage:
    """Objects in the order of their keys, and whether there are more."""

    objects: list[ListedObject]
    is_last: bool


@attrs.frozen
class Upload:
    """A multipart upload that has not come to its end."""

    key: str
    upload_id: str
    begun: datetime


class SignedRequests:
    """Makes requests to one bucket; may be used from several threads.

    Args:
        bucket: The bucket.
        address: The endpoint; None for Amazon's own.
        region: The region that requests are signed for.
        credentials: Gives them whenever it is called; None to ask without.
        path_style: Whether the bucket stands in the path.
        timeouts: Seconds for a connection and for an answer.
        retries: How often a request is made again.
        retry_timeout: Seconds after which it is not.
        storage: What to call the place in errors.
    """

    def __init__(
        self,
        *,
        bucket: str,
        address: str | None,
        region: str,
        credentials: Callable[[], Credentials] | None,
        path_style: bool,
        timeouts: tuple[float, float],
        retries: int,
        retry_timeout: float,
        storage: str,
    ) -> None:
        self._root = _root(bucket, address, region, path_style)
        self._region = region
        self._credentials = credentials
        self._timeouts = timeouts
        self._retries = retries
        self._retry_timeout = retry_timeout
        self._storage = storage
        self._made_session: Any = None

    def list_page(self, prefix: str, after: str, size: int) -> ListedPage:
        """Return objects whose keys begin with *prefix* and come after *after*, by their keys."""
        query = {"list-type": "2", "prefix": prefix, "max-keys": str(size), "encoding-type": "url"}
        if after:
            query["start-after"] = after
        status, body = self._send("GET", query)
        if status == 200 and (page := _glanced(body)) is not None:
            return page
        root = self._parsed(status, body)
        is_escaped = _text(root, "EncodingType") == "url"
        objects = [
            ListedObject(
                unquote_plus(found["Key"]) if is_escaped else found["Key"],
                int(found.get("Size") or 0),
                found.get("ETag", "").strip('"'),
                found.get("LastModified", ""),
            )
            for found in _entries(root, "Contents")
        ]
        return ListedPage(objects, _text(root, "IsTruncated") != "true")

    def uploads(self, prefix: str) -> Iterator[Upload]:
        """Give every upload below *prefix* that has not come to its end."""
        query = {"uploads": "", "prefix": prefix}
        while True:
            root = self._xml("GET", query)
            for found in _entries(root, "Upload"):
                yield Upload(found["Key"], found["UploadId"], _time(found["Initiated"]))
            if _text(root, "IsTruncated") != "true":
                return
            query["key-marker"] = _text(root, "NextKeyMarker")
            query["upload-id-marker"] = _text(root, "NextUploadIdMarker")

    def newest_part(self, upload: Upload) -> datetime | None:
        """Return when the upload was last given a part; None if never, or if it is over."""
        newest = None
        query = {"uploadId": upload.upload_id}
        while True:
            status, body = self._send("GET", query, upload.key)
            if status == 404:
                return newest
            root = self._parsed(status, body)
            times = [_time(found["LastModified"]) for found in _entries(root, "Part")]
            newest = max([*times, *([newest] if newest else [])], default=None)
            if _text(root, "IsTruncated") != "true":
                return newest
            query["part-number-marker"] = _text(root, "NextPartNumberMarker")

    def abort(self, upload: Upload) -> None:
        """End an upload; what it has sent is forgotten. One that is over is no error."""
        status, body = self._send("DELETE", {"uploadId": upload.upload_id}, upload.key)
        if status not in {200, 204, 404}:
            raise answer_error(self._storage, status, body.decode(errors="replace"))

    def close(self) -> None:
        """Close the connections."""
        if self._made_session is not None:
            self._made_session.close()

    def _xml(self, method: str, query: Mapping[str, str]) -> Element:
        return self._parsed(*self._send(method, query))

    def _parsed(self, status: int, body: bytes) -> Element:
        if status != 200:
            raise answer_error(self._storage, status, body.decode(errors="replace"))
        try:
            plain = _NAMESPACE.sub(b"", body, count=1)  # else every tag would have to be cut
            return fromstring(plain)  # noqa: S314 - expat expands no entities from elsewhere
        except ParseError as error:
            raise StorageUnavailableError(
                f"{self._storage} answers with something that is no XML: {error}.",
                storage=self._storage,
                hint="Look at the endpoint; it may be no S3.",
            ) from error

    def _send(self, method: str, query: Mapping[str, str], key: str = "") -> tuple[int, bytes]:
        from botocore.exceptions import ConnectionError as NoConnectionError
        from botocore.exceptions import HTTPClientError

        # As S3 wants them signed: sorted, and with everything escaped.
        told = "&".join(f"{_escaped(name)}={_escaped(query[name])}" for name in sorted(query))
        url = f"{self._root}/{quote(key, safe='/~')}?{told}"
        until = time.monotonic() + self._retry_timeout
        for attempt in range(self._retries + 1):
            failure: Exception
            try:
                answer = self._session.send(self._signed(method, url))
            except (HTTPClientError, NoConnectionError) as error:
                failure = error
            else:
                if answer.status_code < 500 and answer.status_code != 429:
                    return answer.status_code, answer.content
                text = answer.content.decode(errors="replace")
                failure = answer_error(self._storage, answer.status_code, text)
            pause = random.uniform(0.5, 1) * min(_FIRST_PAUSE * 2**attempt, _LONGEST_PAUSE)  # noqa: S311 - pauses are no secret
            if attempt == self._retries or time.monotonic() + pause > until:
                break
            time.sleep(pause)
        if isinstance(failure, (HTTPClientError, NoConnectionError)):
            raise StorageUnavailableError(
                f"{self._storage} cannot be reached: {type(failure).__name__}, "
                f"after {attempt} retries.",
                storage=self._storage,
                hint="Look at the url, the endpoint and the network.",
            ) from failure
        raise failure

    def _signed(self, method: str, url: str) -> Any:
        from botocore.auth import S3SigV4Auth
        from botocore.awsrequest import AWSRequest

        request = AWSRequest(method, url)
        if self._credentials is not None:
            frozen = self._credentials().get_frozen_credentials()
            S3SigV4Auth(frozen, "s3", self._region).add_auth(request)
        return request.prepare()

    @property
    def _session(self) -> Any:
        if self._made_session is None:
            from botocore.httpsession import URLLib3Session
            from botocore.utils import get_environ_proxies

            is_secure = self._root.startswith("https:")  # else no certificates need be read
            self._made_session = URLLib3Session(
                verify=is_secure, proxies=get_environ_proxies(self._root), timeout=self._timeouts
            )
        return self._made_session


def _glanced(body: bytes) -> ListedPage | None:
    """Return a page of a listing as it is usually written; None if it needs an XML parser.

    That takes a quarter of the time. Text in XML holds no `<`, and keys that are escaped for URLs
    no `&`; fields that some object lacks or has twice make the numbers of them differ.
    """
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return None
    found = [field.findall(text) for field in _FIELDS]
    keys, sizes, etags, times = found
    if (
        "<EncodingType>url</EncodingType>" not in text
        or not text.rstrip().endswith("</ListBucketResult>")
        or "<!" in text  # comments and unparsed text
        or {len(each) for each in found} != {text.count("<Contents>")}
    ):
        return None
    if "%" in (joined := "\n".join(keys)) or "+" in joined:
        keys = [unquote_plus(key) for key in keys]
    objects = list(map(ListedObject, keys, map(int, sizes), etags, times))
    return ListedPage(objects, "<IsTruncated>true</IsTruncated>" not in text)


def _root(bucket: str, address: str | None, region: str, path_style: bool) -> str:
    host = f"s3.{region}.amazonaws.com{'.cn' if region.startswith('cn-') else ''}"
    parts = urlsplit(address or f"https://{host}")
    if path_style or "." in bucket:
        return f"{parts.scheme}://{parts.netloc}{parts.path}/{bucket}"
    return f"{parts.scheme}://{bucket}.{parts.netloc}{parts.path}"


def _escaped(text: str) -> str:
    return quote(text, safe="-_.~")


def _entries(root: Element, name: str) -> Iterator[dict[str, str]]:
    for element in root:
        if element.tag == name:
            yield {field.tag: field.text or "" for field in element}


def _text(root: Element, name: str) -> str:
    for element in root:
        if element.tag == name:
            return element.text or ""
    return ""


def _time(text: str) -> datetime:
    found = datetime.fromisoformat(text)
    return found if found.tzinfo else found.replace(tzinfo=UTC)
