"""Codec: values as bytes that outlive the process, and back, equal to what they were."""

from stageflow.codec.codec import Codec, codec_type, set_default_codec
from stageflow.codec.errors import (
    CodecError,
    CodecLimitError,
    CodecRegistrationError,
    MalformedPayloadError,
    UnencodableValueError,
    UnknownTagError,
    UnsupportedFormatError,
)

__all__ = (
    "Codec",
    "CodecError",
    "CodecLimitError",
    "CodecRegistrationError",
    "MalformedPayloadError",
    "UnencodableValueError",
    "UnknownTagError",
    "UnsupportedFormatError",
    "codec_type",
    "set_default_codec",
)
