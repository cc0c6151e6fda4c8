/* err: the one error value of the whole project. A code for programs, a text for people.
 * Used by every folder, on every thread; holds no pointers, so it may be copied freely. */
#ifndef COMMON_ERR_H
#define COMMON_ERR_H

#include <stddef.h>

/* One row per code: constant, name in answers and files, HTTP status, process exit code, meaning.
 * The table is closed: nothing else names a code. */
#define ERR_TABLE(X)                                                                              \
    X(ERR_OK, "ok", 200, 0, "no error")                                                           \
    X(ERR_NOMEM, "out_of_memory", 503, 75, "memory could not be allocated")                       \
    X(ERR_INVALID, "invalid", 400, 64, "a value is outside what is allowed")                      \
    X(ERR_SYNTAX, "bad_json", 400, 64, "the text is not strict JSON")                             \
    X(ERR_SPEC, "spec_invalid", 400, 64, "the experiment spec has faults")                        \
    X(ERR_UNAUTHORIZED, "unauthorized", 401, 77, "the caller is not known")                       \
    X(ERR_FORBIDDEN, "forbidden", 403, 77, "the caller may not do this")                          \
    X(ERR_NOT_FOUND, "not_found", 404, 66, "there is no such object")                             \
    X(ERR_METHOD, "method_not_allowed", 405, 64, "the path exists, the method does not")          \
    X(ERR_BAD_STATE, "bad_state", 409, 1, "the object's state does not allow this")               \
    X(ERR_CONFLICT, "conflict", 409, 1, "another change came first")                              \
    X(ERR_LEASE_LOST, "lease_lost", 409, 75, "a newer attempt owns the experiment")               \
    X(ERR_PRECONDITION, "precondition_failed", 412, 1, "If-Match names an older revision")        \
    X(ERR_TOO_LARGE, "too_large", 413, 64, "the body is over its limit")                          \
    X(ERR_MISDIRECTED, "misdirected", 421, 64, "Host is not in the allow list")                   \
    X(ERR_IDEMPOTENCY, "idempotency_mismatch", 422, 64, "the key was used with another body")     \
    X(ERR_QUEUE_FULL, "queue_full", 429, 75, "the caller has too many experiments queued")        \
    X(ERR_RATE, "rate_limited", 429, 75, "too many requests")                                     \
    X(ERR_DATA, "invalid_data", 422, 65, "a data file is missing, truncated or corrupt")          \
    X(ERR_DIVERGED, "diverged", 422, 70, "a loss, gradient or weight is not finite")              \
    X(ERR_OUT_OF_PLAN, "out_of_plan", 422, 64, "the memory plan does not fit its limit")          \
    X(ERR_STOPPED, "stopped", 409, 130, "stopped on request")                                     \
    X(ERR_IO, "io", 503, 74, "a file, socket or process call failed")                             \
    X(ERR_DB, "database", 503, 74, "the database refused a statement")                            \
    X(ERR_UNAVAILABLE, "unavailable", 503, 75, "not now: starting, draining or out of disk")      \
    X(ERR_INTERNAL, "internal", 500, 70, "a fault of this program")

enum err_code {
#define ERR_ENUM(code, name, http, exit, meaning) code,
    ERR_TABLE(ERR_ENUM)
#undef ERR_ENUM
        ERR_CODE_COUNT
};

#define ERR_TEXT_MAX 240

struct err {
    enum err_code code;
    int source_code; /* errno, UV_E*, CURLcode or SQLite extended code; 0 when none */
    char text[ERR_TEXT_MAX]; /* outermost context first; callers never parse it */
};

/* Sets code and text, returns (int)code so that `return err_set(e, ...)` ends a function. */
int err_set(struct err *e, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Like err_set with ERR_IO, appends ": <strerror(errno_value)>" and keeps errno_value. */
int err_errno(struct err *e, int errno_value, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
/* Puts "fmt: " in front of the text, keeps both codes, returns (int)e->code. */
int err_wrap(struct err *e, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
/* Forgets an error that was handled. */
void err_clear(struct err *e);

const char *err_name(enum err_code code);     /* "spec_invalid"; never NULL */
const char *err_meaning(enum err_code code);  /* one sentence; never NULL */
int err_http_status(enum err_code code);
int err_exit_code(enum err_code code);
enum err_code err_from_name(const char *name); /* ERR_INTERNAL when unknown */

#endif
