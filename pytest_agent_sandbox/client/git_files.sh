# shellcheck shell=sh disable=SC2015,SC2016,SC2030,SC2031,SC2154
# The files of a folder as a tree of git, for any /bin/sh. `git_script.py` puts values before it;
# `git_compare.sh` and calls of its functions after it.
#
# Everything is written to a scratch folder: the repository's index, objects and settings stay as
# they are. Repositories inside of the folder ("$@" of most functions) are taken like plain folders
# of files, each by its own rules. What could not be had is told in three files:
#   problems  what git said of what it cannot see
#   raw       files whose filter fails, or is not run: taken as they are on the disk
#   unread    files that cannot be read: their size and time stand for them

command -v git >/dev/null || { echo "git is not installed in the sandbox" >&2; exit 127; }
# shellcheck disable=SC2046  # names, one a word
unset GIT_EXTERNAL_DIFF GIT_DIFF_OPTS $(git rev-parse --local-env-vars)
export LC_ALL=C GIT_OPTIONAL_LOCKS=0 GIT_TERMINAL_PROMPT=0 GIT_NO_LAZY_FETCH=1
export GIT_LITERAL_PATHSPECS=1

GIT_CONFIG_COUNT=0
setting() {
  export "GIT_CONFIG_KEY_$GIT_CONFIG_COUNT=$1" "GIT_CONFIG_VALUE_$GIT_CONFIG_COUNT=$2"
  export GIT_CONFIG_COUNT=$((GIT_CONFIG_COUNT + 1))
}
setting safe.directory '*'            # files may belong to a user other than the server's
setting core.quotePath false
setting core.safecrlf false
setting core.hooksPath /dev/null      # a hook of the agent's would run whenever an index is written
setting core.fsmonitor false          # these six trust what was noted of files
setting core.untrackedCache false
setting core.ignoreStat false
setting core.trustctime true
setting core.checkStat default
setting core.sparseCheckout false     # and this one leaves new files out
setting core.splitIndex false         # would be written beside the repository's own index
setting submodule.recurse false
setting core.bigFileThreshold 1024g   # to know the ids of those beyond, git compresses them: slow

t=$(mktemp -d) || exit
trap 'rm -rf "$t"' EXIT
trap 'exit 143' TERM
folder=$PWD
export t folder
for name in sizes problems raw unread links.base links.now; do : >"$t/$name"; done

# git in a scratch repository that has the objects of all the others, and nobody's settings.
all() {
  GIT_DIR="$t/all" GIT_WORK_TREE="$folder" GIT_INDEX_FILE="$t/${all_index:-joined}" \
    GIT_CONFIG_GLOBAL=/dev/null GIT_CONFIG_NOSYSTEM=1 git "$@"
}
has_objects_of() { printf '%s\n' "$1" >>"$t/all/objects/info/alternates"; }

format=$(git rev-parse --show-object-format 2>/dev/null) || format=sha1
all init -q --template= --object-format="$format" && mkdir -p "$t/all/objects/info" || exit
empty=$(all hash-object -t tree -w --stdin </dev/null) || exit
if [ -n "$kept" ]; then
  [ -d "$kept/objects" ] || { echo "the snapshot is gone: $kept was removed" >&2; exit 128; }
  has_objects_of "$kept/objects"
  cat "$kept/sizes" >>"$t/sizes"
fi

# Whether the folder is in a repository, that git can read; $prefix is its path there. The work tree
# is where .git is, whatever the repository's settings say (core.bare, core.worktree).
in_repository() {
  prefix=
  top=$(pwd -P)
  until git_dir=$(repository_of "$top"); do
    [ ! -s "$t/said" ] || { cat "$t/said" >&2; exit 128; }
    [ -n "$top" ] || return 1
    top=${top%/*}
  done
  export GIT_DIR="$git_dir" GIT_WORK_TREE="${top:-/}"
  prefix=$(git rev-parse --show-prefix) || exit 128
}
# What git passes over as no repository may be one that was broken.
repository_of() { # FOLDER
  : >"$t/said"
  [ -e "$1/.git" ] || [ -L "$1/.git" ] || return 1
  git rev-parse --resolve-git-dir "$1/.git" 2>"$t/said" && return
  if [ -d "$1/.git" ]; then
    : >"$t/said"
    inside=$(ls -A "$1/.git" 2>/dev/null) && [ -z "$inside" ] ||
      echo "no repository: $1/.git" >>"$t/problems"
  fi
  return 1
}

without_filters() { # PATTERN
  while IFS= read -r name; do
    [ -n "$name" ] || continue
    setting "$name" ''
    setting "${name%.*}.required" false
  done <<END
$(git config --name-only --get-regexp "^filter\.$1\.(clean|process)\$" | sort -u)
END
}

# Filters that the agent may have written: they are not run, as they may hide what it changed. Those
# of git-lfs are known, and others may be of the system's settings.
agents_filters() {
  git config --name-only --get-regexp '^filter\..*\.(clean|process)$' | sort -u |
    while IFS= read -r name; do
      case $(git config --get "$name") in
        '' | 'git-lfs clean -- %f' | 'git-lfs filter-process' | 'git-lfs filter-process --skip')
          continue ;;
      esac
      case $(git config --show-scope --get "$name") in
        system*) ;;
        *) name=${name#filter.} && echo "${name%.*}" ;;
      esac
    done | sort -u
}
# Files with such a filter are taken as they are on the disk. Each is read: what the index notes of it
# is by the filter, too.
take_unfiltered() {
  export large prefix
  agents_filters >"$t/filters"
  [ -s "$t/filters" ] || return 0
  while IFS= read -r name; do
    setting "filter.$name.clean" ''
    setting "filter.$name.process" ''
    setting "filter.$name.required" false
  done <"$t/filters"
  : >"$t/taken"
  git ls-files -z -c -o --exclude-standard -- . | git check-attr -z --stdin filter | lines |
    awk -v list="$t/filters" '
      BEGIN { while ((getline name <list) > 0) known[name] }
      NR % 3 == 1 { path = $0 }
      NR % 3 == 0 && $0 in known { print path }
    ' | lines | xargs -0 -r sh -c "$unfiltered" - >"$t/entries"
  enter_by_hand <"$t/entries"
}
unfiltered='
for f; do
  [ -f "$f" ] && [ ! -L "$f" ] && [ -r "$f" ] && size=$(wc -c <"$f") || continue
  write=-w; [ "$size" -le "$large" ] || write=
  id=$(git hash-object $write --no-filters -- "$f") || continue
  [ "$(git rev-parse -q --verify ":./$f")" != "$id" ] || continue
  echo "$id $size" >>"$t/sizes"
  echo "$prefix$f: taken as it is: the agent may have written its filter, which was not run" >>"$t/raw"
  mode=100644; [ ! -x "$f" ] || mode=100755
  printf "%s\0" "$f" >>"$t/taken"
  printf "%s %s\t%s\0" "$mode" "$id" "$prefix$f"
done'

# What has changed, or is new. A filter that fails would end this early.
dirty() (
  without_filters '.*'
  git ls-files -z -m -o --exclude-standard -- .
)
# What may have changed, by its time.
touched() (
  without_filters '.*'
  git diff-files -z --name-only --relative -- .
)

# Files that git was told not to look at are looked at; but for those that a sparse checkout left
# out.
look_at_all() (
  without_filters '.*'
  git ls-files -v -z | lines | sed -n 's/^[a-z] //p' | lines |
    git update-index -z --no-assume-unchanged --stdin
  git ls-files -t -z | lines | sed -n 's/^S //p' | lines |
    if [ "$sparse" = true ]; then
      xargs -0 -r sh -c 'for f; do [ ! -e "$f" ] && [ ! -L "$f" ] || printf "%s\0" "$f"; done' -
    else
      cat
    fi | git update-index -z --no-skip-worktree --stdin
)
# Where a submodule lost its .git, its files are the folder's own.
forget_lost_modules() {
  git ls-files -s -z -- . | lines | sed -n 's/^160000 [^	]*	//p' | lines |
    xargs -0 -r sh -c "$lost" - | git update-index -z --force-remove --stdin
}
lost='
for f; do
  [ ! -d "$f" ] || [ -f "$f/.git" ] || [ -z "$(ls -A "$f")" ] ||
    git rev-parse --resolve-git-dir "$f/.git" >/dev/null 2>&1 || printf "%s\0" "$f"
done'
lines() { tr '\0\n' '\n\0'; } # there and back

# Large files by their id alone: a copy of each would fill a disk in memory. And what git-lfs would
# make of its files where it is missing, as in a checkout that was made elsewhere.
by_hand='
for f; do
  [ -f "$f" ] && [ ! -L "$f" ] && [ -r "$f" ] || continue
  size=$(($(wc -c <"$f")))
  case $(git check-attr filter -- "$f") in
    *": filter: lfs")
      [ -n "$lfs" ] || continue
      if [ "$size" -eq 0 ] || head -c 42 "$f" | grep -q "^version https://git-lfs"; then
        id=$(git hash-object -w --no-filters -- "$f")
      else
        sum=$(sha256sum <"$f")
        id=$(printf "version https://git-lfs.github.com/spec/v1\noid sha256:%s\nsize %s\n" \
          "${sum%% *}" "$size" | git hash-object -w --stdin)
      fi ;;
    *": filter: unspecified" | *": filter: unset")
      [ "$size" -gt "$large" ] || continue
      id=$(git hash-object --no-filters -- "$f") && echo "$id $size" >>"$t/sizes" ;;
    *) continue ;;
  esac || continue
  mode=100644; [ ! -x "$f" ] || mode=100755
  printf "%s\0" "$f" >>"$t/taken"
  printf "%s %s\t%s\0" "$mode" "$id" "$prefix$f"
done'
take_by_hand() {
  lfs=
  if git config --get-regexp '^filter\.lfs\.(clean|process)$' >/dev/null &&
    ! command -v git-lfs >/dev/null && ! grep -qx lfs "$t/filters"; then
    lfs=yes
    without_filters lfs
  fi
  export lfs
  : >"$t/taken"
  {
    [ -z "$lfs" ] || dirty | filtered lfs
    find . -name .git -prune -o -type f -size "+$((large / 1024))k" -print0 2>/dev/null >"$t/found"
    [ ! -s "$t/found" ] || dirty_of_found
  } | xargs -0 -r sh -c "$by_hand" - >"$t/entries"
  enter_by_hand <"$t/entries"
}
enter_by_hand() (
  without_filters '.*' # whatever writes an index may run them
  git update-index -z --index-info && git update-index -z --assume-unchanged --stdin <"$t/taken"
)
dirty_of_found() {
  dirty | lines | sort >"$t/dirty"
  lines <"$t/found" | sed 's|^\./||' | sort | comm -12 - "$t/dirty" | lines
}
# Of the paths that it is given, those with that filter, or with any.
filtered() {
  git check-attr -z --stdin filter working-tree-encoding | lines | awk -v filter="$1" '
    NR % 3 == 1 { path = $0 }
    NR % 3 == 0 && (filter ? $0 == filter : $0 != "unspecified" && $0 != "unset") { print path }
  ' | lines
}

# What a filter makes of a file; or the file itself, where the filter fails.
by_filter='
for f; do
  [ -f "$f" ] && [ ! -L "$f" ] || continue
  if ! id=$(git hash-object -w -- "$f" 2>"$t/why"); then
    size=$(wc -c <"$f") && write=-w || continue
    [ "$size" -le "$large" ] || write=
    id=$(git hash-object $write --no-filters -- "$f") && echo "$id $size" >>"$t/sizes" || continue
    cat "$t/why" >>"$t/raw"
  fi
  mode=100644; [ ! -x "$f" ] || mode=100755
  printf "%s\0" "$f" >>"$t/taken"
  printf "%s %s\t%s\0" "$mode" "$id" "$prefix$f"
done'
# What git cannot read.
one_by_one='
for f; do
  git add -A -- "$f" 2>"$t/why" && continue
  [ "${f%/}" = "$f" ] && what=$(stat -c "(cannot be read: %F, %s bytes, last changed %y)" -- "$f") &&
    id=$(echo "$what" | git hash-object -w --stdin) || continue
  cat "$t/why" >>"$t/unread"
  printf "100644 %s\t%s\0" "$id" "$prefix$f" | git update-index -z --index-info
done'
add() {
  if git add -A --ignore-errors -- . >/dev/null 2>"$t/said"; then # all but folders, and filters' talk
    grep '^warning: could not open directory' "$t/said"
  else # git stops at the first filter that fails, or does not even write an index
    : >"$t/taken"
    { dirty && touched; } | filtered '' | xargs -0 -r sh -c "$by_filter" - >"$t/entries"
    without_filters '.*'
    enter_by_hand <"$t/entries"
    git add -A --ignore-errors -- . >/dev/null 2>"$t/said" ||
      dirty | xargs -0 -r sh -c "$one_by_one" -
    grep -v -e '^hint:' -e 'does not have a commit checked out' \
      -e '^warning: adding embedded git repository' \
      -e '^warning: in the working copy of' -e '^warning: C\?R\?LF will be replaced by' \
      -e '^The file will have its original line endings' \
      -e "^warning: unable to access '.*/git/" "$t/said" | grep -vxF -f "$t/unread"
  fi | told "$1" >>"$t/problems"
}
told() {
  [ "$1" = . ] && cat || while IFS= read -r line; do printf '%s: %s\n' "$1" "$line"; done
}

# take FOLDER: prints a tree of all its files as they are now; nothing where it is no repository of
# its own.
take() (
  cd "$1" || exit
  rm -f "$t/index"
  if in_repository; then
    [ "$1" = . ] || [ -z "$prefix" ] || exit 0
    has_objects_of "$(cd "$(git rev-parse --git-path objects)" && pwd)"
    sparse=$(GIT_CONFIG_COUNT=1 git config --bool core.sparseCheckout)
    index=$(git rev-parse --git-path index)
    # With its time, by which git knows that a file may have changed in the second it was added.
    [ ! -e "$index" ] || cp -p "$index" "$t/index" || exit
  else
    [ "$1" = . ] || exit 0
    sparse=
    export GIT_DIR="$t/all" GIT_WORK_TREE="$PWD"
  fi
  export GIT_INDEX_FILE="$t/index" GIT_OBJECT_DIRECTORY="$t/all/objects"
  git ls-files -s >/dev/null && look_at_all && forget_lost_modules || exit
  take_unfiltered && take_by_hand && add "$1" || exit
  if [ -n "$prefix" ]; then # the rest of the repository may be in any state
    git ls-files -s -z --full-name -- . >"$t/part"
    export GIT_INDEX_FILE="$t/part.index"
    rm -f "$GIT_INDEX_FILE"
    git update-index -z --index-info <"$t/part" || exit
  fi
  tree=$(git write-tree --missing-ok) || exit
  git rev-parse -q --verify "$tree:$prefix" || echo "$empty"
)

# tree_of FOLDER COMMIT: prints the folder's tree in a commit.
tree_of() (
  cd "$1" || exit
  if in_repository; then
    git rev-parse -q --verify HEAD >/dev/null || [ "$2" != HEAD ] || { echo "$empty"; exit; }
    whole=$(git rev-parse -q --verify "$2^{tree}") &&
      { git rev-parse -q --verify "$whole:$prefix" || echo "$empty"; exit; }
  elif [ "$2" = HEAD ]; then
    [ "$1" = . ] && echo "${unversioned:-$empty}" || echo "$empty"
    exit
  fi
  echo "there is no commit $2" >&2
  exit 128
)
