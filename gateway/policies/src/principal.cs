/* Who asks, as the apps read it: base64url of subject, roles and the token's end in seconds since 1970. Empty where the
   token claims to be a service. */
Jwt token = (Jwt)context.Variables["token"];
string subject = token.Subject;
if (string.IsNullOrEmpty(subject) || (subject.Length > 7 && subject.Substring(0, 8) == "service:")) { return string.Empty; }
string[] claimed = token.Claims.ContainsKey("roles") ? token.Claims["roles"] : new string[0];
JArray roles = new JArray();
foreach (string role in claimed) {
  if (role == "service") { return string.Empty; }
  roles.Add(role);
}
JObject principal = new JObject(new JProperty("subject", subject), new JProperty("roles", roles));
if (token.ExpirationTime != null) {
  principal.Add(new JProperty("exp", (token.ExpirationTime.Value.Ticks - new DateTime(1970, 1, 1).Ticks) / 10000000));
}
string text = Convert.ToBase64String(Encoding.UTF8.GetBytes(principal.ToString()));
return text.Replace("+", "-").Replace("/", "_").Replace("=", string.Empty);
