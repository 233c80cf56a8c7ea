# shellcheck shell=sh disable=SC2015,SC2030,SC2034,SC2154
# What differs between all files of a folder now and then; goes on from `git_files.sh`.

# ---- the folder and the repositories inside of it, in one tree

graft() {
  all ls-files -z -- "$1" | all update-index -z --force-remove --stdin &&
    all read-tree --prefix="$1/" "$2"
}

# Sets $now, and $outer without what is in the repositories.
take_all() {
  outer=$(take .) || exit
  all read-tree "$outer" || exit
  for inner; do
    if tree=$(take "$inner" 2>"$t/failed"); then
      [ -z "$tree" ] || graft "$inner" "$tree" || exit
    else
      told "$inner" <"$t/failed" >>"$t/problems"
    fi
  done
  now=$(all write-tree --missing-ok) || exit
}

# since_commit COMMIT INNER...: sets $base. Of a submodule it holds the commit that is noted in the
# folder's own repository, of others the last one.
since_commit() {
  outer_base=$(tree_of . "$1") || exit
  shift
  all read-tree "$outer_base" || exit
  for inner; do
    commit=HEAD
    known=$(all ls-files -s -- "$inner" | head -n 1)
    case $known in
      "160000 "*) commit=${known#* } && commit=${commit%% *} ;;
      ?*) continue ;; # it was a plain folder
    esac
    tree=$(tree_of "$inner" "$commit" 2>/dev/null) || tree=$(tree_of "$inner" HEAD 2>/dev/null) ||
      continue
    graft "$inner" "$tree" || exit
    all ls-tree -z "$outer_base" -- "$inner" >>"$t/links.base"
    all ls-tree -z "$outer" -- "$inner" >>"$t/links.now"
  done
  base=$(all write-tree --missing-ok) || exit
}

# since_snapshot TREE INNER...: sets $base; an empty TREE stands for no files, INNER are the
# repositories that have come since. What a clone came with is no news, but for the clone itself.
since_snapshot() {
  all read-tree "${1:-$empty}" || exit
  shift
  for inner; do
    [ -z "$(all ls-files -- "$inner" | head -n 1)" ] || continue
    fork=$(cd "$inner" && came_with 2>/dev/null) && [ -n "$fork" ] || continue
    tree=$(tree_of "$inner" "$fork") && graft "$inner" "$tree" || exit
    all ls-tree -z "$outer" -- "$inner" >>"$t/links.now"
  done
  base=$(all write-tree --missing-ok) || exit
}

# The commit that a repository came with: the first one that its HEAD was at. Where no log tells,
# the last one that a remote has, too, unless it was pushed.
came_with() {
  first=$(git log -g --format='%H %gs' HEAD -- | tail -n 1)
  case $first in
    *" commit (initial)"*) ;; # it was made here
    ?*) echo "${first%% *}" ;;
    # shellcheck disable=SC2046  # ids, one a word
    *) git merge-base HEAD $(git for-each-ref --format='%(objectname)' refs/remotes) ;;
  esac
}

# The repositories inside as git shows them: as one entry each.
links() (
  all_index=links.index # of `all`
  all read-tree --empty &&
    lines <"$1" | sed -n '/^160000 /p' | lines | all update-index -z --index-info &&
    all write-tree --missing-ok
)

# ---- what is printed: fields that end in NUL, the last one apart

report() {
  for name in problems raw unread; do
    awk '!seen[$0]++' "$t/$name" | tr -d '\0' | head -c 10000
    printf '\0'
  done
}

print_changes() {
  {
    all diff-tree -r --raw -z --no-renames "$base" "$now" &&
      all diff-tree -r --raw -z --no-renames "$(links "$t/links.base")" "$(links "$t/links.now")"
  } >"$t/changes" || exit
  report
  base64 <"$t/changes" # names may hold any bytes
}

# print_diff MOST: of what is too large to be shown, or not here, the sizes and git's raw lines;
# the size of the rest; as much of it as is wanted.
print_diff() {
  all diff-tree -r --raw --no-abbrev --no-renames "$base" "$now" >"$t/changed" || exit
  awk '$1 != ":160000" && $2 != "160000" { print $3; print $4 }' "$t/changed" | grep -v '^0*$' |
    sort -u | all cat-file --batch-check='%(objectname) %(objectsize)' >"$t/sized"
  awk 'part == 1 { size[$1] = $2; if ($2 == "missing" || $2 + 0 > large + 0) heavy[$1] = 1; next }
    part == 2 { if ($1 in heavy) size[$1] = $2; next }
    $3 in heavy || $4 in heavy {
      print ($3 in size ? size[$3] : "-"), ($4 in size ? size[$4] : "-"), $0
    }' large="$large" part=1 "$t/sized" part=2 "$t/sizes" part=3 "$t/changed" >"$t/heavy"
  if [ -s "$t/heavy" ]; then
    base=$(without_heavy "$base") && now=$(without_heavy "$now") || exit
  fi
  {
    show "$base" "$now" && show "$(links "$t/links.base")" "$(links "$t/links.now")"
  } >"$t/diff" || exit
  report
  cat "$t/heavy" && printf '\0' && wc -c <"$t/diff" && printf '\0' && head -c "$1" "$t/diff"
}
show() { all diff-tree -r -p -M --no-color --no-ext-diff --no-textconv "$@"; }
without_heavy() {
  all read-tree "$1" &&
    awk '{ id = $5; sub(/^[^\t]*\t/, ""); print "0 " id "\t" $0 }' "$t/heavy" |
    all update-index --index-info &&
    all write-tree --missing-ok
}

# Every tree is written, also those that a repository has: it may be gone when they are asked for.
print_snapshot() {
  all ls-files -s -z >"$t/entries" && rm "$t/joined" || exit
  ! [ -e "$t/all/objects/info/alternates" ] || mv "$t/all/objects/info/alternates" "$t/alternates"
  all update-index -z --index-info <"$t/entries" && now=$(all write-tree --missing-ok) || exit
  ! [ -e "$t/alternates" ] || mv "$t/alternates" "$t/all/objects/info/alternates"
  kept=$(mktemp -d) && mv "$t/all/objects" "$t/sizes" "$kept" || exit
  report
  printf '%s\0%s' "$now" "$kept"
}

# print_file COMMIT PATH: yes and the file's text in the commit, or no.
print_file() {
  dir=${2%/*}
  while [ ! -d "$dir/" ]; do dir=${dir%/*}; done
  tree=$(tree_of "$dir/" "$1") && cd "$dir/" || exit
  report
  name=$tree:${2#"$dir"/}
  if ! id=$(git rev-parse -q --verify "$name") || [ "$(git cat-file -t "$id")" = tree ]; then
    printf 'no\0'
    return
  fi
  printf 'yes\0' && git cat-file blob "$id"
}
