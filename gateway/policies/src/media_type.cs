/* Whether the body is plain JSON in UTF-8: only then do the gateway and the apps read the same text. A GET has none. */
if (context.Request.Headers.ContainsKey("Content-Encoding")) { return false; }
if (context.Request.Method == "GET") { return true; }
string[] parts = context.Request.Headers.GetValueOrDefault("Content-Type", string.Empty).ToLowerInvariant().Split((char)59);
bool good = parts[0].Trim() == "application/json";
for (int n = 1; n != parts.Length; n = n + 1) {
  string[] pair = parts[n].Split((char)61);
  if (pair[0].Trim() == "charset") {
    good = good && pair.Length == 2 && pair[1].Replace("\"", string.Empty).Trim() == "utf-8";
  }
}
return good;
