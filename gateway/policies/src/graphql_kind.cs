/* Which kind of operation a request asks for: query, mutation or subscription; large where it is too long, none where it
   can be read and names nothing to execute, invalid wherever it is not certain.
   It stands in an attribute: line ends become blanks, so that comments are of this form only, and characters are
   compared by their code points. Its twin in Rust is the crate skein-kind. */
bool isGet = context.Request.Method == "GET";
string document = null;
string wanted = null;
bool misnamed = false;
bool extended = false;
int at = 0;
Stack<int> closers = new Stack<int>();
StringBuilder text = new StringBuilder();
string body = "{}";
if (isGet) {
  /* A GET asks by its query: four parameters, each once, by their plain names; bytes stay bytes, since what matters is
     ASCII, but for the byte order mark. A body beside it is nothing that anybody should read. */
  if (context.Request.Headers.ContainsKey("Transfer-Encoding") || context.Request.Headers.GetValueOrDefault("Content-Length", "0") != "0") { return "invalid"; }
  string asked = context.Request.OriginalUrl.QueryString;
  if (string.IsNullOrEmpty(asked)) { return "none"; }
  if ((int)asked[0] == 63) { asked = asked.Substring(1); }
  if (asked.Length == 0) { return "none"; }
  if (asked.Length > 7168) { return "large"; }
  HashSet<string> seen = new HashSet<string>();
  foreach (string pair in asked.Split((char)38)) {
    int mark = pair.IndexOf((char)61);
    string name = mark == -1 ? pair : pair.Substring(0, mark);
    if (mark == -1 || !seen.Add(name)) { return "invalid"; }
    text.Clear();
    at = mark + 1;
    while (at != pair.Length) {
      int unit = (int)pair[at];
      at = at + 1;
      if (unit > 126) { return "invalid"; }
      if (unit == 43) { unit = 32; }
      if (unit == 37) {
        if (2 > pair.Length - at) { return "invalid"; }
        unit = 0;
        for (int n = 0; n != 2; n = n + 1) {
          int digit = (int)pair[at + n];
          int worth = digit > 47 && 58 > digit ? digit - 48 : digit > 64 && 71 > digit ? digit - 55 : digit > 96 && 103 > digit ? digit - 87 : 16;
          if (worth == 16) { return "invalid"; }
          unit = unit * 16 + worth;
        }
        at = at + 2;
      }
      text.Append((char)unit);
    }
    if (name == "query") { document = text.ToString().Replace("\u00EF\u00BB\u00BF", "\uFEFF"); }
    else if (name == "operationName") { wanted = text.Length == 0 ? null : text.ToString(); }
    else if (name == "extensions") { extended = true; }
    else if (name != "variables") { return "invalid"; }
  }
} else {
  if (context.Request.Body == null) { return "invalid"; }
  body = context.Request.Body.As<string>(preserveContent: true);
  if (body == null) { return "invalid"; }
  if (body.Length > 262144) { return "large"; }
}
int size = body.Length;
at = 0;

/* First the envelope: a JSON object, of which two members matter. Nested values are skipped by their brackets.
   0 start, 1 a member or the end, 2 a member, 3 its colon, 4 its value, 5 a comma or the end, 6 over, 7 nested. */
bool unwritten = false;
string member = string.Empty;
int want = 0;
while (at != size) {
  int c = (int)body[at];
  at = at + 1;
  if (c == 32 || c == 9 || c == 10 || c == 13) { continue; }
  if (c == 47) {
    if (at == size) { return "invalid"; }
    int mark = (int)body[at];
    at = at + 1;
    if (mark == 47) {
      while (at != size && (int)body[at] != 10 && (int)body[at] != 13) { at = at + 1; }
    } else if (mark == 42) {
      bool open = true;
      while (open) {
        if (2 > size - at) { return "invalid"; }
        open = (int)body[at] != 42 || (int)body[at + 1] != 47;
        at = at + 1;
      }
      at = at + 1;
    } else { return "invalid"; }
    continue;
  }
  /* 0 a mark, 1 a text, 2 a word */
  int shape = 0;
  text.Clear();
  if (c == 34 || c == 39) {
    shape = 1;
    bool open = true;
    while (open) {
      if (at == size) { return "invalid"; }
      int unit = (int)body[at];
      at = at + 1;
      if (unit == c) { open = false; continue; }
      if (unit == 92) {
        if (at == size) { return "invalid"; }
        int escape = (int)body[at];
        at = at + 1;
        if (escape == 117) {
          if (4 > size - at) { return "invalid"; }
          unit = 0;
          for (int n = 0; n != 4; n = n + 1) {
            int digit = (int)body[at + n];
            int worth = digit > 47 && 58 > digit ? digit - 48 : digit > 64 && 71 > digit ? digit - 55 : digit > 96 && 103 > digit ? digit - 87 : 16;
            if (worth == 16) { return "invalid"; }
            unit = unit * 16 + worth;
          }
          at = at + 4;
        } else {
          unit = escape == 98 ? 8 : escape == 102 ? 12 : escape == 110 ? 10 : escape == 114 ? 13 : escape == 116 ? 9 : escape;
          if (unit == escape && escape != 34 && escape != 39 && escape != 47 && escape != 92) { return "invalid"; }
        }
      }
      text.Append((char)unit);
    }
  } else {
    int w = c;
    bool more = true;
    while (more) {
      more = (w > 96 && 123 > w) || (w > 64 && 91 > w) || (w > 47 && 58 > w) || w == 95 || w == 36 || w == 43 || w == 45 || w == 46;
      if (more) {
        shape = 2;
        text.Append((char)w);
        more = at != size;
        if (more) { w = (int)body[at]; at = at + 1; }
      } else if (shape == 2) { at = at - 1; }
    }
  }
  bool isMark = shape == 0;
  if (want == 7) {
    if (!isMark || c == 44 || c == 58) { continue; }
    if (c == 123 || c == 91) {
      if (closers.Count == 63) { return "invalid"; }
      closers.Push(c + 2);
      continue;
    }
    if (closers.Pop() != c) { return "invalid"; }
    if (closers.Count == 0) { want = 5; }
    continue;
  }
  if (want == 0 && isMark && c == 123) { want = 1; continue; }
  if ((want == 1 || want == 2) && !isMark) { member = text.ToString(); want = 3; continue; }
  if ((want == 1 || want == 5) && isMark && c == 125) { want = 6; continue; }
  if (want == 3 && isMark && c == 58) { want = 4; continue; }
  if (want == 5 && isMark && c == 44) { want = 2; continue; }
  if (want != 4) { return "invalid"; }
  want = 5;
  string value = null;
  bool absent = false;
  if (shape == 1) { value = text.ToString(); }
  else if (shape == 2) {
    string word = text.ToString();
    absent = word == "null";
    bool number = c == 45 || (c > 47 && 58 > c);
    if (!absent && !number && word != "true" && word != "false") { return "invalid"; }
  } else if (c == 123 || c == 91) {
    closers.Push(c + 2);
    want = 7;
  } else { return "invalid"; }
  /* Of members with one name the last counts. */
  if (member == "query") {
    document = value;
    unwritten = !absent && value == null;
  }
  if (member == "extensions") { extended = c == 123; }
  if (member == "operationName") {
    wanted = value;
    misnamed = !absent && string.IsNullOrEmpty(value);
  }
}
if (want != 6) { return "invalid"; }
if (unwritten || misnamed) { return "none"; }
/* By the hash of a document alone: a GET reads, a POST changes, and the app has the document. */
if (document == null) { return !extended ? "none" : isGet ? "query" : "mutation"; }

/* Then the document, token by token.
   0 between definitions, 1 after the keyword of an operation, 2 in a header, 3 in a selection set. */
List<string> kinds = new List<string>();
List<string> names = new List<string>();
int place = 0;
size = document.Length;
at = 0;
while (at != size) {
  int c = (int)document[at];
  int start = at;
  at = at + 1;
  if (c == 32 || c == 9 || c == 10 || c == 13 || c == 44 || c == 65279) { continue; }
  if (c == 35) {
    while (at != size && (int)document[at] != 10 && (int)document[at] != 13) { at = at + 1; }
    continue;
  }
  bool isText = c == 34;
  bool isName = (c > 96 && 123 > c) || (c > 64 && 91 > c) || c == 95;
  if (isText) {
    bool block = size - at > 1 && (int)document[at] == 34 && (int)document[at + 1] == 34;
    if (block) { at = at + 2; }
    bool open = true;
    while (open) {
      int left = size - at;
      if (left == 0) { return "invalid"; }
      int unit = (int)document[at];
      if (block) {
        int from = unit == 92 ? at + 1 : at;
        bool three = size - from > 2 && (int)document[from] == 34 && (int)document[from + 1] == 34 && (int)document[from + 2] == 34;
        at = three ? from + 3 : at + 1;
        open = !three || unit == 92;
      } else {
        if (unit == 10 || unit == 13 || (unit == 92 && left == 1)) { return "invalid"; }
        at = unit == 92 ? at + 2 : at + 1;
        open = unit != 34;
      }
    }
  }
  if (isName) {
    bool more = true;
    while (more && at != size) {
      int w = (int)document[at];
      more = (w > 96 && 123 > w) || (w > 64 && 91 > w) || (w > 47 && 58 > w) || w == 95;
      if (more) { at = at + 1; }
    }
  }
  if (place == 0) {
    /* A text here is the description of what follows. */
    if (isText) { continue; }
    string word = document.Substring(start, at - start);
    place = 2;
    if (word == "fragment") { continue; }
    bool shorthand = c == 123;
    if (!shorthand && word != "query" && word != "mutation" && word != "subscription") { return "invalid"; }
    kinds.Add(shorthand ? "query" : word);
    names.Add(string.Empty);
    if (!shorthand) { place = 1; continue; }
  }
  if (place == 1) {
    if (isText) { return "invalid"; }
    if (isName) { names[names.Count - 1] = document.Substring(start, at - start); }
    place = 2;
  }
  if (isText || isName) { continue; }
  if (c == 123 || c == 91 || c == 40) {
    /* Only an outermost brace opens a selection set: others belong to the values of a header. */
    if (c == 123 && closers.Count == 0) { place = 3; }
    closers.Push(c == 40 ? 41 : c + 2);
  } else if (c == 125 || c == 93 || c == 41) {
    if (closers.Count == 0 || closers.Pop() != c) { return "invalid"; }
    if (closers.Count == 0 && place == 3) { place = 0; }
  } else if ("0123456789.!$&+-:=@|".IndexOf((char)c) == -1) { return "invalid"; }
}
if (place != 0 || kinds.Count == 0) { return "invalid"; }
if (kinds.Count != 1) {
  HashSet<string> seen = new HashSet<string>();
  foreach (string name in names) { if (name.Length == 0 || !seen.Add(name)) { return "none"; } }
}
if (wanted == null) { return kinds.Count == 1 ? kinds[0] : "none"; }
int found = names.IndexOf(wanted);
return found == -1 ? "none" : kinds[found];
