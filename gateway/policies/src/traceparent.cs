/* The client's trace if it names one, else a new one. */
string given = context.Request.Headers.GetValueOrDefault("traceparent", string.Empty);
if (Regex.IsMatch(given, "^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$")) { return given; }
return "00-" + context.RequestId.ToString("N") + "-" + Guid.NewGuid().ToString("N").Substring(0, 16) + "-01";
