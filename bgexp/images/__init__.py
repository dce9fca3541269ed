"""Image files to pixels and back: decoding, colour profiles, metadata, encoding."""
