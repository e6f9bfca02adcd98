r"""`model.kpkg`: all that a compiled model needs, in one file that anyone may have tampered with.

A package is a manifest (a dict of JSON values) and named sections (bytes). The file, with all
integers little-endian:

    offset  bytes  field
         0      8  magic, b"KPKG\r\n\x1a\n": a transfer in text mode damages it visibly
         8      4  format version, 1
        12      4  reserved, 0
        16      8  length of the whole file
        24      8  length N of the envelope
        32     32  SHA-256 of bytes 0..31 followed by the envelope
        64      N  the envelope, canonical JSON (sorted keys, no spaces, UTF-8):
                   {"manifest":M,"sections":[{"length":,"name":,"offset":,"sha256":}, ...]}
         S      -  the sections, sorted by name; S and every offset, which counts from S, are
                   multiples of 4096, and the bytes skipped for that are zero

The content determines every byte: a file that `read` accepts is the very file that `write` makes
from what it holds. So equal content gives equal files, nothing hides between the sections, and a
single changed bit is an error. Hashes find damage, not forgery: whoever can write the file can also
write the hashes, so whoever uses a section must still check what is in it.
"""

from kcompiler.package.fields import require
from kcompiler.package.reader import Package, from_bytes, read
from kcompiler.package.writer import Hashed, PackageInfo, to_bytes, write

__all__ = ["Hashed", "Package", "PackageInfo", "from_bytes", "read", "require", "to_bytes", "write"]
