# shellcheck shell=bash disable=SC2154
# /etc/static -> the new system's etc; every file of it linked into /etc
echo "setting up /etc..."
ln -sfn "$(readlink -f "$systemConfig/etc")" /etc/.static.new && mv -T /etc/.static.new /etc/static
find /etc -xdev -type l -lname '/etc/static/*' ! -exec test -e {} \; -delete
while IFS= read -r p; do
  [ "$(readlink "/etc/$p")" = "/etc/static/$p" ] && continue
  mkdir -p "/etc/$(dirname "$p")"
  ln -sfn "/etc/static/$p" "/etc/$p.new" && mv -T "/etc/$p.new" "/etc/$p"
done < <(find /etc/static/ -type l -printf '%P\n')
