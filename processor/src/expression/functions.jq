# What jq defines otherwise than jaq does, or in addition.

def type: _type;
def tojson: _tojson;
def tostring: _tostring;
def tonumber: _tonumber;
def toboolean: _toboolean;
def fromjson: _fromjson;
def toarray: if _type == "array" then . else [.] end;

def values: select(. != null);
def nulls: select(. == null);
def booleans: select(_type == "boolean");
def numbers: select(_type == "number");
def strings: select(_type == "string");
def arrays: select(_type == "array");
def objects: select(_type == "object");
def iterables: select(_type == "array" or _type == "object");
def scalars: select(_type != "array" and _type != "object");

def nan: _nan;
def gamma: lgamma;
def infinite: _infinite;
def isnan: _isnan;
def isinfinite: _isinfinite;
def isnormal: _isnormal;
def finites: select(_isinfinite or _isnan | not);
def normals: select(_isnormal);
def abs: if . < 0 then -. else . end;
def have_literal_numbers: true;
def have_decnum: true;

def add: _add;
def add(f): [f] | _add;

def first: .[0];
def last: .[-1];
def limit($n; f): if $n < 0 then error("limit doesn't support negative count") else _limit($n; f) end;
def skip($n; f): if $n < 0 then error("skip doesn't support negative count") else _skip($n; f) end;
def nth($n): .[$n];
def nth($n; f): if $n < 0 then error("nth doesn't support negative indices") else first(_skip($n; f)) end;
def combinations: if length == 0 then [] else .[0][] as $x | (.[1:] | combinations) as $w | [$x] + $w end;
def combinations($n): . as $dot | [range($n)] | map($dot) | combinations;
def range($from; $to; $by): _numbers($from; $to; $by);
def range($from; $to): _numbers($from; $to; 1);
def range($to): _numbers(0; $to; 1);

def getpath($path): reduce ($path | _path[]) as $p (.; .[$p]);
def setpath($path; $value): _setpath($path; $value);
def delpaths($paths): _delpaths($paths);
def del(f): _delpaths([path(f)]);
def to_entries: [keys_unsorted[] as $k | {key: $k, value: .[$k]}];
def from_entries: _from_entries;
def with_entries(f): to_entries | map(f) | _from_entries;
def map_values(f): .[] |= f;
def paths: path(..) | select(length > 0);
def paths(f): path(.. | select(f)) | select(length > 0);
def leaf_paths: paths(scalars);
def pick(f): . as $dot | reduce path(f) as $p (null; _setpath($p; $dot | getpath($p)));
def walk(f): def each: if _type == "object" then (.[] |= each) elif _type == "array" then [.[] | each] else . end | f; each;

def flatten($depth): if $depth < 0 then error("flatten depth must not be negative") else def level($d): .[] | if _type == "array" and $d > 0 then level($d - 1) else . end; [level($depth)] end;
def flatten: def level: .[] | if _type == "array" then level else . end; [level];
def join($by): _join($by);
def in(xs): . as $x | xs | has($x);
def inside(xs): . as $x | xs | contains($x);
def index($i): indices($i) | .[0];
def rindex($i): indices($i) | .[-1:][0];
def trimstr($x): ltrimstr($x) | rtrimstr($x);
def ascii: [.] | implode;
def transpose: if . == [] then [] else (map(length) | max) as $n | [range(0; $n) as $i | [.[][$i]]] end;
def isempty(g): label $go | (g | false, break $go), true;

def IN(s): any(s == .; .);
def IN(f; s): any(f == s; .);
def INDEX(s; f): reduce s as $row ({}; _setpath([$row | f | _tostring]; $row));
def INDEX(f): INDEX(.[]; f);
def JOIN($index; f): [.[] | [., $index[f]]];
def JOIN($index; s; f): s | [., $index[f]];
def JOIN($index; s; f; join): s | [., $index[f]] | join;
def strftime($format): _seconds | _strftime($format);
def todateiso8601: strftime("%Y-%m-%dT%H:%M:%SZ");
def todate: todateiso8601;
def date: todate;
def dateadd(unit; n): . + n;
def datesub(unit; n): . - n;

def tostream: path(def r: (.[]? | r), .; r) as $p | getpath($p) | reduce path(.[]?) as $q ([$p, .]; [$p + $q]);
def fromstream(f): {x: null, e: false} as $init | foreach f as $i ($init; if .e then $init else . end | if ($i | length) == 2 then setpath(["e"]; ($i[0] | length) == 0) | setpath(["x"] + $i[0]; $i[1]) else setpath(["e"]; ($i[0] | length) == 1) end; if .e then .x else empty end);
def truncate_stream(s): . as $n | null | s | . as $input | if (.[0] | length) > $n then setpath([0]; .[0][$n:]) else empty end;

def match($re; $flags): _match($re; $flags)[];
def match($re): _match($re; null)[];
def test($re; $flags): _test($re; $flags);
def test($re): _test($re; null);
def capture($re; $flags): _match($re; $flags)[] | _captures;
def capture($re): _match($re; null)[] | _captures;
def scan($re; $flags): _match($re; "g" + $flags)[] | if .captures == [] then .string else [.captures[].string] end;
def scan($re): scan($re; null);
def split($by): if _type == "string" and ($by | _type) == "string" then . / $by else error("split input and separator must be strings") end;
def split($re; $flags): _split($re; $flags);
def splits($re; $flags): _split($re; $flags)[];
def splits($re): _split($re; null)[];
def sub($re; f; $flags): _sub($re; $flags; f);
def sub($re; f): _sub($re; ""; f);
def gsub($re; f; $flags): _sub($re; "g" + $flags; f);
def gsub($re; f): _sub($re; "g"; f);

def @json: _tojson;
def @text: _tostring;
def @csv: _csv;
def @tsv: _tsv;
def @sh: _sh;
def @html: _tostring | escape_html;
def @uri: _tostring | encode_uri;
def @urlvalue: if . == null then error("a value in the URL is null") else @uri end;
def @urid: _tostring | _urid;
def @base64: _tostring | encode_base64;
def @base64d: _tostring | _base64d;
def @base32: _tostring | _base32;
def @base32d: _tostring | _base32d;

def format($name):
  if $name == "text" then @text elif $name == "json" then @json elif $name == "csv" then @csv
  elif $name == "tsv" then @tsv elif $name == "html" then @html elif $name == "uri" then @uri
  elif $name == "urid" then @urid elif $name == "sh" then @sh elif $name == "base64" then @base64
  elif $name == "base64d" then @base64d elif $name == "base32" then @base32
  elif $name == "base32d" then @base32d else error("\($name) is not a valid format") end;
