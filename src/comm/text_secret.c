/* text_secret: the file by which the tasks of a SLURM step know each other. */
#include "text_secret.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

enum { FOLDERS = 2 };

static const char *variable(const char *name) {
    const char *text = getenv(name);
    return text != NULL ? text : "0";
}

/* The name of the file; a step that SLURM starts again has another one. */
static char *name_of(void) {
    return km_format(".kmask-%.20s-%.20s-%.20s", variable("SLURM_JOB_ID"), variable("SLURM_STEP_ID"),
                     variable("SLURM_RESTART_COUNT"));
}

/* The folder itself, or the nearest one above it that exists; the caller frees. */
static char *existing(const char *folder) {
    struct stat info;
    char *path = km_strdup(*folder != '\0' ? folder : ".");
    while (stat(path, &info) != 0 || !S_ISDIR(info.st_mode)) {
        char *slash = strrchr(path, '/');
        if (slash == NULL) {
            free(path);
            return km_strdup(".");
        }
        slash[slash == path ? 1 : 0] = '\0';
        if (slash == path) {
            break;
        }
    }
    return path;
}

/* Where the file may be. */
static void list_folders(char *out[FOLDERS], const char *folder) {
    const char *home = getenv("HOME");
    out[0] = existing(folder);
    out[1] = km_strdup(home != NULL && *home == '/' ? home : out[0]);
}

static km_status write_file(const char *path, const km_text_secret *secret) {
    (void)unlink(path);
    int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) {
        return km_fail_errno(errno, "%s: cannot create", path);
    }
    km_status status = km_pwrite_all(fd, secret, sizeof *secret, 0, path);
    if (status == KM_OK) {
        status = km_file_sync(fd, path);
    }
    if (close(fd) != 0 && status == KM_OK) {
        status = km_fail_errno(errno, "%s: cannot write", path);
    }
    if (status != KM_OK) {
        unlink(path);
    }
    return status;
}

km_status km_text_secret_write(char **path, const km_text_secret *secret, const char *folder) {
    char *folders[FOLDERS], *name = name_of();
    km_status status = KM_FAILED;
    *path = NULL;
    list_folders(folders, folder);
    for (int i = 0; i < FOLDERS; i++) {
        if (status != KM_OK) {
            free(*path);
            *path = km_format("%s/%s", folders[i], name);
            status = write_file(*path, secret);
        }
        free(folders[i]);
    }
    free(name);
    if (status != KM_OK) {
        free(*path);
        *path = NULL;
    }
    return status;
}

/* Whether a folder lists the name. A network file system may remember for half a minute that a file is not there; so it is not
 * asked for before it is listed. */
static bool is_listed(const char *folder, const char *name) {
    DIR *dir = opendir(folder);
    bool found = false;
    for (struct dirent *entry; dir != NULL && !found && (entry = readdir(dir)) != NULL;) {
        found = strcmp(entry->d_name, name) == 0;
    }
    if (dir != NULL) {
        closedir(dir);
    }
    return found;
}

/* Only a file of this user that nobody else can read or write is believed. */
static bool read_file(km_text_secret *out, const char *path) {
    struct stat info;
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool good = fd >= 0 && fstat(fd, &info) == 0 && S_ISREG(info.st_mode) && info.st_uid == geteuid() &&
                (info.st_mode & 077) == 0 && info.st_size == (off_t)sizeof *out &&
                km_pread_all(fd, out, sizeof *out, 0, path) == KM_OK;
    if (fd >= 0) {
        close(fd);
    }
    return good;
}

bool km_text_secret_read(km_text_secret *out, const char *folder) {
    char *folders[FOLDERS], *name = name_of();
    bool found = false;
    list_folders(folders, folder);
    for (int i = 0; i < FOLDERS; i++) {
        char *path = km_format("%s/%s", folders[i], name);
        found = found || (is_listed(folders[i], name) && read_file(out, path));
        free(path);
        free(folders[i]);
    }
    free(name);
    return found;
}
