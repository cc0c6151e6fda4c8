#!/bin/sh
# Checks the tree against the house rules: who includes whom, banned calls, limits, names.
# usage: check_tree.sh [ROOT]. Prints each fault, exits 1 when there is one or nothing to check.
set -u
cd "${1:-$(dirname "$0")/../..}" || exit 1
faults=0
fault() { echo "tidy: $*"; faults=$((faults + 1)); }

c_files=$(find common worker server bench tests -name '*.[ch]' -type f 2>/dev/null | sort)
code=$(printf '%s\n' "$c_files" | grep -E '^(common|worker|server)/')
[ -n "$code" ] || { echo "tidy: found no C files"; exit 1; }

# ---- who may include whom: FOLDER MAY_NOT_INCLUDE (regular expressions) --------------------------
while read -r folder banned; do
    hits=$(printf '%s\n' "$code" | grep -E "^$folder/" | xargs -r grep -nE "^#include \"($banned)/" /dev/null)
    [ -z "$hits" ] || fault "include rule, $folder: $hits"
done <<'RULES'
common worker|server
worker server
server worker
worker/tensor worker/(kernels|neurons|layers|nets|data|train|monitor|report|export)
worker/kernels worker/(neurons|layers|nets|data|train|monitor|report|export)
worker/neurons worker/(layers|nets|data|train|monitor|report|export)
worker/layers worker/(nets|data|train|monitor|report|export)
worker/nets worker/(data|train|monitor|report|export)
worker/data worker/(layers|nets|train|monitor|report|export)
server/meter server/(store|queue|api|stream|http|auth|launcher)
server/store server/(backup|queue|api|stream|http|auth|launcher)
server/backup server/(queue|api|stream|http|auth|launcher)
server/launcher server/(store|queue|api|stream|http|auth)
server/queue server/(backup|api|stream|http|auth)
server/auth server/(api|stream|queue|launcher|http)
RULES

# ---- banned calls ---------------------------------------------------------------------------------
banned='\b(strcpy|strcat|sprintf|vsprintf|gets|system|popen|atoi|atof|strtok|alloca|cJSON_GetObjectItem|cJSON_HasObjectItem|cJSON_Compare)\('
hits=$(printf '%s\n' "$code" | xargs grep -nE "$banned" /dev/null)
[ -z "$hits" ] || fault "banned call: $hits"
hits=$(printf '%s\n' "$code" | grep -v '^common/mem\.c$' | xargs grep -nE '(^|[^_a-zA-Z.>])(malloc|calloc|realloc|free|strdup|strndup|asprintf)\(' /dev/null | grep -vE ":[0-9]+: *(\*|/\*|//)|tidy: scandir's own")
[ -z "$hits" ] || fault "allocation outside common/mem.c: $hits"
hits=$(printf '%s\n' "$code" | grep -v '_main\.c$' | xargs grep -nE '(^|[^_a-zA-Z])(exit|_exit|abort)\(' /dev/null | grep -vE ':[0-9]+: *(\*|/\*|//)|tidy: (child|asked twice|overdue)')
[ -z "$hits" ] || fault "exit outside *_main.c: $hits"

# ---- limits ---------------------------------------------------------------------------------------
for f in $c_files; do
    awk -v f="$f" '
        { chars = $0; gsub(/[\200-\277]/, "", chars) } # the second and later bytes of a character
        length(chars) > 100 { printf "tidy: %s:%d: line of %d characters, at most 100\n", f, NR, length(chars); bad = 1 }
        /\t/ { printf "tidy: %s:%d: tab\n", f, NR; bad = 1 }
        / $/ { printf "tidy: %s:%d: blank at the end\n", f, NR; bad = 1 }
        /^\{/ { start = NR }
        /^\}/ { if (start && NR - start > 72) { printf "tidy: %s:%d: function of %d lines, at most 70\n", f, start, NR - start - 1; bad = 1 } start = 0 }
        END { if (NR > 700) { printf "tidy: %s: %d lines, at most 700\n", f, NR; bad = 1 } exit bad }' "$f" || faults=$((faults + 1))
    case $(head -c 2 "$f") in '/*') ;; *) fault "$f: does not open with a comment that says what it is" ;; esac
done
twice=$(printf '%s\n' "$c_files" | sed 's|.*/||' | sort | uniq -d)
[ -z "$twice" ] || fault "file names used twice:" $twice

# ---- words that have no place here ------------------------------------------------------------------
if git rev-parse --git-dir >/dev/null 2>&1; then
    hits=$(git ls-files | grep -v '^tests/tidy/' | xargs -r grep -nIE 'registry\.npmjs|deb\.debian\.org|/work/|\bTODO\b|\bFIXME\b|\bXXX\b' /dev/null)
    [ -z "$hits" ] || fault "words that have no place here: $hits"
fi
[ "$faults" = 0 ] || { echo "tidy: $faults faults"; exit 1; }
echo "tidy: $(printf '%s\n' "$c_files" | wc -l) files"
