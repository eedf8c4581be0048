/* Formats by their first bytes. The signatures are those of the formats' specifications, as file(1) knows them too. */
#include "formats.h"

#include <string.h>
#include <strings.h>

typedef struct signature {
    const char *bytes;
    size_t count, offset;
    const char *name, *advice;
} signature;
#define AT(offset, bytes, name, advice)                                                                            \
    { bytes, sizeof(bytes) - 1, offset, name, advice }

static bool matches(const signature *s, const char *head, size_t count) {
    return count >= s->offset + s->count && memcmp(head + s->offset, s->bytes, s->count) == 0;
}

/* ---- Containers ---- */

static const signature packed[] = {
    AT(0, "\x28\xB5\x2F\xFD", "zstd", NULL),
    AT(0, "\xFD\x37zXZ\0", "xz", NULL),
    AT(0, "\x04\x22\x4D\x18", "lz4", NULL),
    AT(0, "\x02\x21\x4C\x18", "lz4", NULL),
    AT(4, "1AY&SY", "bzip2", NULL), /* behind "BZh" and the block size */
    AT(4, "\x17\x72\x45\x38\x50\x90", "bzip2", NULL),
    AT(0, "LZIP\1", "lzip", NULL),
    AT(0, "\x1F\x9D\x90", "compress (.Z)", NULL),
    AT(0, "\x5D\x00\x00\x80\x00\xFF\xFF\xFF\xFF", "lzma", NULL),
};

/* A header's checksum is the sum of its bytes with blanks in place of the checksum itself. */
static bool is_tar(const char *head, size_t count) {
    enum { HEADER = 512, SUM = 148, SUM_END = 156 };
    if (count < HEADER || head[0] == '\0') {
        return false;
    }
    unsigned long sum = 0, found = 0;
    for (int i = 0; i < HEADER; i++) {
        sum += i >= SUM && i < SUM_END ? ' ' : (unsigned char)head[i];
    }
    int i = SUM;
    while (i < SUM_END && head[i] == ' ') {
        i++;
    }
    for (; i < SUM_END && head[i] >= '0' && head[i] <= '7'; i++) {
        found = found * 8 + (unsigned long)(head[i] - '0');
    }
    return found == sum;
}

km_container km_container_of(const char **format, const char *head, size_t count) {
    static const signature gzip = AT(0, "\x1F\x8B", "gzip", NULL);
    static const signature zips[] = {AT(0, "PK\3\4", "zip", NULL), AT(0, "PK\5\6", "zip", NULL),
                                     AT(0, "PK\7\10", "zip", NULL)};
    *format = "";
    if (matches(&gzip, head, count)) {
        *format = gzip.name;
        return KM_CONTAINER_GZIP;
    }
    for (size_t i = 0; i < KM_COUNT(packed); i++) {
        if (matches(&packed[i], head, count)) {
            *format = packed[i].name;
            return KM_CONTAINER_PACKED;
        }
    }
    for (size_t i = 0; i < KM_COUNT(zips); i++) {
        if (matches(&zips[i], head, count)) {
            *format = "zip";
            return KM_CONTAINER_ZIP;
        }
    }
    if (is_tar(head, count)) {
        *format = "tar";
        return KM_CONTAINER_TAR;
    }
    return KM_CONTAINER_NONE;
}

static const struct {
    const char *ending, *format;
    km_container container;
} endings[] = {
    {".gz", "gzip", KM_CONTAINER_GZIP},     {".tgz", "gzip", KM_CONTAINER_GZIP},
    {".zst", "zstd", KM_CONTAINER_PACKED},  {".zstd", "zstd", KM_CONTAINER_PACKED},
    {".xz", "xz", KM_CONTAINER_PACKED},     {".txz", "xz", KM_CONTAINER_PACKED},
    {".bz2", "bzip2", KM_CONTAINER_PACKED}, {".tbz2", "bzip2", KM_CONTAINER_PACKED},
    {".lz4", "lz4", KM_CONTAINER_PACKED},   {".lz", "lzip", KM_CONTAINER_PACKED},
    {".lzma", "lzma", KM_CONTAINER_PACKED}, {".tar", "tar", KM_CONTAINER_TAR},
    {".zip", "zip", KM_CONTAINER_ZIP},
};

static int ending_of(const char *name, size_t length) {
    for (size_t i = 0; i < KM_COUNT(endings); i++) {
        const size_t tail = strlen(endings[i].ending);
        if (length > tail && strncasecmp(name + length - tail, endings[i].ending, tail) == 0) {
            return (int)i;
        }
    }
    return -1;
}

km_container km_container_named(const char **format, const char *name) {
    const int found = ending_of(name, strlen(name));
    *format = found >= 0 ? endings[found].format : "";
    return found >= 0 ? endings[found].container : KM_CONTAINER_NONE;
}

size_t km_name_without_container(const char *name) {
    size_t length = strlen(name);
    for (int found = ending_of(name, length); found >= 0; found = ending_of(name, length)) {
        length -= strlen(endings[found].ending);
    }
    return length;
}

/* ---- What is no text ---- */

static const char to_text[] = "write its texts to a file or pipe them into standard input (\"-\")";
static const char parquet[] =
    "pipe its texts into standard input: tools/parquet_text.py FILE | kmask corpus build ... -";
static const char unpack[] = "unpack it first";
static const char pdf[] = "extract its text first (pdftotext)";
static const char leave_out[] = "leave it out: name the files that hold text";

static const signature foreign[] = {
    AT(0, "PAR1", "a Parquet table", parquet),
    AT(0, "PARE", "an encrypted Parquet table", to_text),
    AT(0, "ARROW1", "an Arrow (Feather) table", parquet),
    AT(0, "FEA1", "a Feather table", parquet),
    AT(0, "Obj\1", "an Avro file", to_text),
    AT(0, "ORC\x11", "an ORC table", to_text),
    AT(0, "SQLite format 3", "an SQLite database", to_text),
    AT(0, "KMASKH5\n", "a corpus, model or checkpoint of kmask", leave_out),
    AT(0, "\x89HDF\r\n\x1A\n", "an HDF5 file", to_text),
    AT(512, "\x89HDF\r\n\x1A\n", "an HDF5 file", to_text),
    AT(1024, "\x89HDF\r\n\x1A\n", "an HDF5 file", to_text),
    AT(2048, "\x89HDF\r\n\x1A\n", "an HDF5 file", to_text),
    AT(4096, "\x89HDF\r\n\x1A\n", "an HDF5 file", to_text),
    AT(0, "CDF\1", "a NetCDF file", to_text),
    AT(0, "\x93NUMPY", "a NumPy array", to_text),
    AT(0, "%PDF-", "a PDF document", pdf),
    AT(0, "%!PS-", "a PostScript document", "extract its text first (ps2txt)"),
    AT(0, "{\\rtf", "an RTF document", "save it as plain text first"),
    AT(0, "AT&TFORM", "a DjVu document", "extract its text first (djvutxt)"),
    AT(0, "\xD0\xCF\x11\xE0\xA1\xB1\x1A\xE1", "a document of an older Microsoft Office",
       "save it as plain text first"),
    AT(0, "\x89PNG\r\n\x1A\n", "a PNG image", leave_out),
    AT(0, "\xFF\xD8\xFF", "a JPEG image", leave_out),
    AT(0, "GIF87a", "a GIF image", leave_out),
    AT(0, "GIF89a", "a GIF image", leave_out),
    AT(0, "II*\0", "a TIFF image", leave_out),
    AT(0, "MM\0*", "a TIFF image", leave_out),
    AT(8, "WEBPVP8", "a WebP image", leave_out),
    AT(0, "\0\0\1\0", "an icon", leave_out),
    AT(0, "8BPS\0", "a Photoshop image", leave_out),
    AT(8, "WAVEfmt", "a WAV recording", leave_out),
    AT(8, "AVI LIST", "an AVI video", leave_out),
    AT(0, "ID3\2", "an MP3 recording", leave_out),
    AT(0, "ID3\3", "an MP3 recording", leave_out),
    AT(0, "ID3\4", "an MP3 recording", leave_out),
    AT(0, "OggS\0", "an Ogg recording", leave_out),
    AT(0, "fLaC", "a FLAC recording", leave_out),
    AT(4, "ftyp", "an MP4 video", leave_out),
    AT(0, "\x1A\x45\xDF\xA3", "a Matroska video", leave_out),
    AT(0,
       "\x7F"
       "ELF",
       "an ELF program or library", leave_out),
    AT(0, "\xCF\xFA\xED\xFE", "a Mach-O program", leave_out),
    AT(0, "\xCA\xFE\xBA\xBE", "a Java class or Mach-O program", leave_out),
    AT(0, "\0asm", "a WebAssembly program", leave_out),
    AT(0, "!<arch>\n", "a library or Debian package", leave_out),
    AT(0, "\xED\xAB\xEE\xDB", "an RPM package", leave_out),
    AT(0, "7z\xBC\xAF\x27\x1C", "a 7z archive", unpack),
    AT(0, "Rar!\x1A\7", "a RAR archive", unpack),
    AT(0, "MSCF\0", "a cabinet archive", unpack),
    AT(0, "xar!", "a xar archive", unpack),
    AT(0, "\xFF\x06\0\0sNaPpY", "a Snappy file", unpack),
    AT(0, "\x80\2", "a Python pickle", to_text),
    AT(0, "\x80\3", "a Python pickle", to_text),
    AT(0, "\x80\4\x95", "a Python pickle", to_text),
    AT(0, "\x80\5\x95", "a Python pickle", to_text),
    AT(0, "version https://git-lfs.github.com/spec/", "a Git LFS pointer in place of the file",
       "fetch the file itself with `git lfs pull`"),
    AT(30, "mimetypeapplication/epub+zip", "an EPUB book", "extract its text first"),
    AT(30, "mimetypeapplication/vnd.oasis", "an OpenDocument file", "save it as plain text first"),
    AT(30, "[Content_Types].xml", "a document of Microsoft Office", "save it as plain text first"),
};

static uint32_t little_endian(const char *bytes) {
    uint32_t value = 0;
    for (int i = 3; i >= 0; i--) {
        value = value << 8 | (unsigned char)bytes[i];
    }
    return value;
}

/* An Arrow stream, as datasets saves its tables: a mark, and the size of the schema, which is a multiple of 8. */
static bool is_arrow_stream(const char *head, size_t count) {
    const uint32_t size = count >= 8 ? little_endian(head + 4) : 0;
    return size > 0 && size % 8 == 0 && size < 1U << 27 && memcmp(head, "\xFF\xFF\xFF\xFF", 4) == 0;
}

/* The size of the header in 8 bytes, and JSON. */
static bool is_safetensors(const char *head, size_t count) {
    return count >= 10 && memcmp(head + 4, "\0\0\0\0{\"", 6) == 0;
}

const char *km_foreign_format(const char **advice, const char *head, size_t count) {
    for (size_t i = 0; i < KM_COUNT(foreign); i++) {
        if (matches(&foreign[i], head, count)) {
            *advice = foreign[i].advice;
            return foreign[i].name;
        }
    }
    *advice = parquet;
    if (is_arrow_stream(head, count)) {
        return "an Arrow table";
    }
    *advice = leave_out;
    return is_safetensors(head, count) ? "a safetensors file" : NULL;
}
