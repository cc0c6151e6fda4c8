#!/bin/sh
# Prints a C file with the text of every migration in folder $1, in order of the file names.
set -eu
printf '/* Made by deploy/build/migrations.sh. */\n#include "server/store/migrations_data.h"\n\n'
printf 'const struct migration_text migrations_all[] = {\n'
count=0
for file in "$1"/*.sql; do
    name=$(basename "$file" .sql)
    number=$(printf '%s' "$name" | sed 's/^[^0-9]*//; s/_.*//; s/^0*//')
    printf '    { %s, "%s",\n' "$number" "$name"
    sed 's/\\/\\\\/g; s/"/\\"/g; s/^/      "/; s/$/\\n"/' "$file"
    printf '    },\n'
    count=$((count + 1))
done
printf '};\nconst size_t migrations_count = %s;\n' "$count"
