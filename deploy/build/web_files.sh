#!/bin/sh
# Prints a C file that holds every file of the built page, folder $1.
set -eu
printf '/* Made by deploy/build/web_files.sh. */\n#include "server/http/web_files.h"\n\n'
table=''
count=0
for file in "$1"/*.html "$1"/*.js "$1"/*.css; do
    [ -e "$file" ] || continue
    name=$(basename "$file")
    case $name in
    *.html) type='text/html; charset=utf-8' ;;
    *.js) type='text/javascript; charset=utf-8' ;;
    *) type='text/css; charset=utf-8' ;;
    esac
    etag=$(sha256sum "$file" | cut -c1-32)
    length=$(wc -c <"$file")
    printf 'static const unsigned char file_%s[] = {\n' "$count"
    od -An -v -tu1 -w24 "$file" | sed 's/  */,/g; s/^,//; s/$/,/'
    printf '};\n'
    table="$table    { \"/$name\", \"$type\", file_$count, $length, \"\\\"$etag\\\"\" },
"
    count=$((count + 1))
done
printf '\nconst struct web_file web_files[] = {\n%s};\nconst size_t web_files_count = %s;\n' "$table" "$count"
