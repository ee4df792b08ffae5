// Rendered by `cargo xtask render`: a change here is lost with the next one.

param gatewayName string

param vaultUri string

param telemetryId string

param appAudience string

param tokenAudience string

param tokenIssuer string

param tokenConfiguration string

param siteUrl string

param gatewayTier string

param routerUrl string

resource gateway 'Microsoft.ApiManagement/service@2024-05-01' existing = {
  name: gatewayName
}

resource telemetryValue 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = {
  parent: gateway
  name: 'appinsights-connection-string'
  properties: {
    displayName: 'appinsights-connection-string'
    secret: true
    keyVault: {
      secretIdentifier: '${vaultUri}secrets/appinsights-connection-string'
    }
  }
}

resource logger 'Microsoft.ApiManagement/service/loggers@2024-05-01' = {
  parent: gateway
  name: 'telemetry'
  properties: {
    loggerType: 'applicationInsights'
    credentials: {
      connectionString: '{{appinsights-connection-string}}'
      identityClientId: 'SystemAssigned'
    }
    isBuffered: true
    resourceId: telemetryId
  }
  dependsOn: [
    telemetryValue
  ]
}

resource diagnostic 'Microsoft.ApiManagement/service/diagnostics@2024-05-01' = {
  parent: gateway
  name: 'applicationinsights'
  properties: {
    loggerId: logger.id
    alwaysLog: 'allErrors'
    httpCorrelationProtocol: 'W3C'
    sampling: {
      samplingType: 'fixed'
      percentage: 100
    }
    verbosity: 'information'
  }
}

resource valueAppAudience 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = {
  parent: gateway
  name: 'skein-app-audience'
  properties: {
    displayName: 'skein-app-audience'
    value: appAudience
  }
}

resource valueTokenAudience 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = {
  parent: gateway
  name: 'skein-audience'
  properties: {
    displayName: 'skein-audience'
    value: tokenAudience
  }
}

resource valueTokenIssuer 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = {
  parent: gateway
  name: 'skein-issuer'
  properties: {
    displayName: 'skein-issuer'
    value: tokenIssuer
  }
}

resource valueTokenConfiguration 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = {
  parent: gateway
  name: 'skein-openid-config'
  properties: {
    displayName: 'skein-openid-config'
    value: tokenConfiguration
  }
}

resource valueSiteUrl 'Microsoft.ApiManagement/service/namedValues@2024-05-01' = {
  parent: gateway
  name: 'skein-site-origin'
  properties: {
    displayName: 'skein-site-origin'
    value: siteUrl
  }
}

resource fragmentSkeinGraphqlHttp 'Microsoft.ApiManagement/service/policyFragments@2024-05-01' = {
  parent: gateway
  name: 'skein-graphql-http'
  properties: {
    value: '''
<fragment>
    <choose>
        <when condition="@(context.Request.Method != &quot;GET&quot; &amp;&amp; context.Request.Method != &quot;POST&quot;)">
            <return-response>
                <set-status code="405" reason="Method Not Allowed" />
                <set-header name="Content-Type" exists-action="override">
                    <value>application/problem+json</value>
                </set-header>
                <set-header name="Cache-Control" exists-action="override">
                    <value>no-store</value>
                </set-header>
                <set-header name="x-trace-id" exists-action="override">
                    <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value>
                </set-header>
                <set-header name="Allow" exists-action="override">
                    <value>GET, POST</value>
                </set-header>
                <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Method Not Allowed&quot;), new JProperty(&quot;status&quot;, 405), new JProperty(&quot;detail&quot;, &quot;GraphQL is asked by POST, and queries by GET, too&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body>
            </return-response>
        </when>
    </choose>
    <set-variable name="json" value="@{
        /* Whether the body is plain JSON in UTF-8: only then do the gateway and the apps read the same text. A GET has none. */
        if (context.Request.Headers.ContainsKey(&quot;Content-Encoding&quot;)) { return false; }
        if (context.Request.Method == &quot;GET&quot;) { return true; }
        string[] parts = context.Request.Headers.GetValueOrDefault(&quot;Content-Type&quot;, string.Empty).ToLowerInvariant().Split((char)59);
        bool good = parts[0].Trim() == &quot;application/json&quot;;
        for (int n = 1; n != parts.Length; n = n + 1) {
          string[] pair = parts[n].Split((char)61);
          if (pair[0].Trim() == &quot;charset&quot;) {
            good = good &amp;&amp; pair.Length == 2 &amp;&amp; pair[1].Replace(&quot;\&quot;&quot;, string.Empty).Trim() == &quot;utf-8&quot;;
          }
        }
        return good;
        }" />
    <choose>
        <when condition="@(!(bool)context.Variables[&quot;json&quot;])">
            <return-response>
                <set-status code="415" reason="Unsupported Media Type" />
                <set-header name="Content-Type" exists-action="override">
                    <value>application/problem+json</value>
                </set-header>
                <set-header name="Cache-Control" exists-action="override">
                    <value>no-store</value>
                </set-header>
                <set-header name="x-trace-id" exists-action="override">
                    <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value>
                </set-header>
                <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Unsupported Media Type&quot;), new JProperty(&quot;status&quot;, 415), new JProperty(&quot;detail&quot;, &quot;the content type must be application/json, in UTF-8 and without content-encoding&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body>
            </return-response>
        </when>
    </choose>
    <choose>
        <when condition="@(context.Request.Headers.GetValueOrDefault(&quot;Content-Length&quot;, &quot;0&quot;).Length &gt; 6 || int.Parse(context.Request.Headers.GetValueOrDefault(&quot;Content-Length&quot;, &quot;0&quot;)) &gt; 262144)">
            <return-response>
                <set-status code="413" reason="Payload Too Large" />
                <set-header name="Content-Type" exists-action="override">
                    <value>application/problem+json</value>
                </set-header>
                <set-header name="Cache-Control" exists-action="override">
                    <value>no-store</value>
                </set-header>
                <set-header name="x-trace-id" exists-action="override">
                    <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value>
                </set-header>
                <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Payload Too Large&quot;), new JProperty(&quot;status&quot;, 413), new JProperty(&quot;detail&quot;, &quot;a request has at most 262144 bytes&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body>
            </return-response>
        </when>
    </choose>
</fragment>
'''
    description: 'Refuses what GraphQL over HTTP does not know'
    format: 'xml'
  }
}

resource fragmentSkeinGraphqlKind 'Microsoft.ApiManagement/service/policyFragments@2024-05-01' = {
  parent: gateway
  name: 'skein-graphql-kind'
  properties: {
    value: '''
<fragment>
    <set-variable name="kind" value="@{
        /* Which kind of operation a request asks for: query, mutation or subscription; large where it is too long, none where it
           can be read and names nothing to execute, invalid wherever it is not certain.
           It stands in an attribute: line ends become blanks, so that comments are of this form only, and characters are
           compared by their code points. Its twin in Rust is the crate skein-kind. */
        bool isGet = context.Request.Method == &quot;GET&quot;;
        string document = null;
        string wanted = null;
        bool misnamed = false;
        bool extended = false;
        int at = 0;
        Stack&lt;int&gt; closers = new Stack&lt;int&gt;();
        StringBuilder text = new StringBuilder();
        string body = &quot;{}&quot;;
        if (isGet) {
          /* A GET asks by its query: four parameters, each once, by their plain names; bytes stay bytes, since what matters is
             ASCII, but for the byte order mark. A body beside it is nothing that anybody should read. */
          if (context.Request.Headers.ContainsKey(&quot;Transfer-Encoding&quot;) || context.Request.Headers.GetValueOrDefault(&quot;Content-Length&quot;, &quot;0&quot;) != &quot;0&quot;) { return &quot;invalid&quot;; }
          string asked = context.Request.OriginalUrl.QueryString;
          if (string.IsNullOrEmpty(asked)) { return &quot;none&quot;; }
          if ((int)asked[0] == 63) { asked = asked.Substring(1); }
          if (asked.Length == 0) { return &quot;none&quot;; }
          if (asked.Length &gt; 7168) { return &quot;large&quot;; }
          HashSet&lt;string&gt; seen = new HashSet&lt;string&gt;();
          foreach (string pair in asked.Split((char)38)) {
            int mark = pair.IndexOf((char)61);
            string name = mark == -1 ? pair : pair.Substring(0, mark);
            if (mark == -1 || !seen.Add(name)) { return &quot;invalid&quot;; }
            text.Clear();
            at = mark + 1;
            while (at != pair.Length) {
              int unit = (int)pair[at];
              at = at + 1;
              if (unit &gt; 126) { return &quot;invalid&quot;; }
              if (unit == 43) { unit = 32; }
              if (unit == 37) {
                if (2 &gt; pair.Length - at) { return &quot;invalid&quot;; }
                unit = 0;
                for (int n = 0; n != 2; n = n + 1) {
                  int digit = (int)pair[at + n];
                  int worth = digit &gt; 47 &amp;&amp; 58 &gt; digit ? digit - 48 : digit &gt; 64 &amp;&amp; 71 &gt; digit ? digit - 55 : digit &gt; 96 &amp;&amp; 103 &gt; digit ? digit - 87 : 16;
                  if (worth == 16) { return &quot;invalid&quot;; }
                  unit = unit * 16 + worth;
                }
                at = at + 2;
              }
              text.Append((char)unit);
            }
            if (name == &quot;query&quot;) { document = text.ToString().Replace(&quot;\u00EF\u00BB\u00BF&quot;, &quot;\uFEFF&quot;); }
            else if (name == &quot;operationName&quot;) { wanted = text.Length == 0 ? null : text.ToString(); }
            else if (name == &quot;extensions&quot;) { extended = true; }
            else if (name != &quot;variables&quot;) { return &quot;invalid&quot;; }
          }
        } else {
          if (context.Request.Body == null) { return &quot;invalid&quot;; }
          body = context.Request.Body.As&lt;string&gt;(preserveContent: true);
          if (body == null) { return &quot;invalid&quot;; }
          if (body.Length &gt; 262144) { return &quot;large&quot;; }
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
            if (at == size) { return &quot;invalid&quot;; }
            int mark = (int)body[at];
            at = at + 1;
            if (mark == 47) {
              while (at != size &amp;&amp; (int)body[at] != 10 &amp;&amp; (int)body[at] != 13) { at = at + 1; }
            } else if (mark == 42) {
              bool open = true;
              while (open) {
                if (2 &gt; size - at) { return &quot;invalid&quot;; }
                open = (int)body[at] != 42 || (int)body[at + 1] != 47;
                at = at + 1;
              }
              at = at + 1;
            } else { return &quot;invalid&quot;; }
            continue;
          }
          /* 0 a mark, 1 a text, 2 a word */
          int shape = 0;
          text.Clear();
          if (c == 34 || c == 39) {
            shape = 1;
            bool open = true;
            while (open) {
              if (at == size) { return &quot;invalid&quot;; }
              int unit = (int)body[at];
              at = at + 1;
              if (unit == c) { open = false; continue; }
              if (unit == 92) {
                if (at == size) { return &quot;invalid&quot;; }
                int escape = (int)body[at];
                at = at + 1;
                if (escape == 117) {
                  if (4 &gt; size - at) { return &quot;invalid&quot;; }
                  unit = 0;
                  for (int n = 0; n != 4; n = n + 1) {
                    int digit = (int)body[at + n];
                    int worth = digit &gt; 47 &amp;&amp; 58 &gt; digit ? digit - 48 : digit &gt; 64 &amp;&amp; 71 &gt; digit ? digit - 55 : digit &gt; 96 &amp;&amp; 103 &gt; digit ? digit - 87 : 16;
                    if (worth == 16) { return &quot;invalid&quot;; }
                    unit = unit * 16 + worth;
                  }
                  at = at + 4;
                } else {
                  unit = escape == 98 ? 8 : escape == 102 ? 12 : escape == 110 ? 10 : escape == 114 ? 13 : escape == 116 ? 9 : escape;
                  if (unit == escape &amp;&amp; escape != 34 &amp;&amp; escape != 39 &amp;&amp; escape != 47 &amp;&amp; escape != 92) { return &quot;invalid&quot;; }
                }
              }
              text.Append((char)unit);
            }
          } else {
            int w = c;
            bool more = true;
            while (more) {
              more = (w &gt; 96 &amp;&amp; 123 &gt; w) || (w &gt; 64 &amp;&amp; 91 &gt; w) || (w &gt; 47 &amp;&amp; 58 &gt; w) || w == 95 || w == 36 || w == 43 || w == 45 || w == 46;
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
              if (closers.Count == 63) { return &quot;invalid&quot;; }
              closers.Push(c + 2);
              continue;
            }
            if (closers.Pop() != c) { return &quot;invalid&quot;; }
            if (closers.Count == 0) { want = 5; }
            continue;
          }
          if (want == 0 &amp;&amp; isMark &amp;&amp; c == 123) { want = 1; continue; }
          if ((want == 1 || want == 2) &amp;&amp; !isMark) { member = text.ToString(); want = 3; continue; }
          if ((want == 1 || want == 5) &amp;&amp; isMark &amp;&amp; c == 125) { want = 6; continue; }
          if (want == 3 &amp;&amp; isMark &amp;&amp; c == 58) { want = 4; continue; }
          if (want == 5 &amp;&amp; isMark &amp;&amp; c == 44) { want = 2; continue; }
          if (want != 4) { return &quot;invalid&quot;; }
          want = 5;
          string value = null;
          bool absent = false;
          if (shape == 1) { value = text.ToString(); }
          else if (shape == 2) {
            string word = text.ToString();
            absent = word == &quot;null&quot;;
            bool number = c == 45 || (c &gt; 47 &amp;&amp; 58 &gt; c);
            if (!absent &amp;&amp; !number &amp;&amp; word != &quot;true&quot; &amp;&amp; word != &quot;false&quot;) { return &quot;invalid&quot;; }
          } else if (c == 123 || c == 91) {
            closers.Push(c + 2);
            want = 7;
          } else { return &quot;invalid&quot;; }
          /* Of members with one name the last counts. */
          if (member == &quot;query&quot;) {
            document = value;
            unwritten = !absent &amp;&amp; value == null;
          }
          if (member == &quot;extensions&quot;) { extended = c == 123; }
          if (member == &quot;operationName&quot;) {
            wanted = value;
            misnamed = !absent &amp;&amp; string.IsNullOrEmpty(value);
          }
        }
        if (want != 6) { return &quot;invalid&quot;; }
        if (unwritten || misnamed) { return &quot;none&quot;; }
        /* By the hash of a document alone: a GET reads, a POST changes, and the app has the document. */
        if (document == null) { return !extended ? &quot;none&quot; : isGet ? &quot;query&quot; : &quot;mutation&quot;; }
        
        /* Then the document, token by token.
           0 between definitions, 1 after the keyword of an operation, 2 in a header, 3 in a selection set. */
        List&lt;string&gt; kinds = new List&lt;string&gt;();
        List&lt;string&gt; names = new List&lt;string&gt;();
        int place = 0;
        size = document.Length;
        at = 0;
        while (at != size) {
          int c = (int)document[at];
          int start = at;
          at = at + 1;
          if (c == 32 || c == 9 || c == 10 || c == 13 || c == 44 || c == 65279) { continue; }
          if (c == 35) {
            while (at != size &amp;&amp; (int)document[at] != 10 &amp;&amp; (int)document[at] != 13) { at = at + 1; }
            continue;
          }
          bool isText = c == 34;
          bool isName = (c &gt; 96 &amp;&amp; 123 &gt; c) || (c &gt; 64 &amp;&amp; 91 &gt; c) || c == 95;
          if (isText) {
            bool block = size - at &gt; 1 &amp;&amp; (int)document[at] == 34 &amp;&amp; (int)document[at + 1] == 34;
            if (block) { at = at + 2; }
            bool open = true;
            while (open) {
              int left = size - at;
              if (left == 0) { return &quot;invalid&quot;; }
              int unit = (int)document[at];
              if (block) {
                int from = unit == 92 ? at + 1 : at;
                bool three = size - from &gt; 2 &amp;&amp; (int)document[from] == 34 &amp;&amp; (int)document[from + 1] == 34 &amp;&amp; (int)document[from + 2] == 34;
                at = three ? from + 3 : at + 1;
                open = !three || unit == 92;
              } else {
                if (unit == 10 || unit == 13 || (unit == 92 &amp;&amp; left == 1)) { return &quot;invalid&quot;; }
                at = unit == 92 ? at + 2 : at + 1;
                open = unit != 34;
              }
            }
          }
          if (isName) {
            bool more = true;
            while (more &amp;&amp; at != size) {
              int w = (int)document[at];
              more = (w &gt; 96 &amp;&amp; 123 &gt; w) || (w &gt; 64 &amp;&amp; 91 &gt; w) || (w &gt; 47 &amp;&amp; 58 &gt; w) || w == 95;
              if (more) { at = at + 1; }
            }
          }
          if (place == 0) {
            /* A text here is the description of what follows. */
            if (isText) { continue; }
            string word = document.Substring(start, at - start);
            place = 2;
            if (word == &quot;fragment&quot;) { continue; }
            bool shorthand = c == 123;
            if (!shorthand &amp;&amp; word != &quot;query&quot; &amp;&amp; word != &quot;mutation&quot; &amp;&amp; word != &quot;subscription&quot;) { return &quot;invalid&quot;; }
            kinds.Add(shorthand ? &quot;query&quot; : word);
            names.Add(string.Empty);
            if (!shorthand) { place = 1; continue; }
          }
          if (place == 1) {
            if (isText) { return &quot;invalid&quot;; }
            if (isName) { names[names.Count - 1] = document.Substring(start, at - start); }
            place = 2;
          }
          if (isText || isName) { continue; }
          if (c == 123 || c == 91 || c == 40) {
            /* Only an outermost brace opens a selection set: others belong to the values of a header. */
            if (c == 123 &amp;&amp; closers.Count == 0) { place = 3; }
            closers.Push(c == 40 ? 41 : c + 2);
          } else if (c == 125 || c == 93 || c == 41) {
            if (closers.Count == 0 || closers.Pop() != c) { return &quot;invalid&quot;; }
            if (closers.Count == 0 &amp;&amp; place == 3) { place = 0; }
          } else if (&quot;0123456789.!$&amp;+-:=@|&quot;.IndexOf((char)c) == -1) { return &quot;invalid&quot;; }
        }
        if (place != 0 || kinds.Count == 0) { return &quot;invalid&quot;; }
        if (kinds.Count != 1) {
          HashSet&lt;string&gt; seen = new HashSet&lt;string&gt;();
          foreach (string name in names) { if (name.Length == 0 || !seen.Add(name)) { return &quot;none&quot;; } }
        }
        if (wanted == null) { return kinds.Count == 1 ? kinds[0] : &quot;none&quot;; }
        int found = names.IndexOf(wanted);
        return found == -1 ? &quot;none&quot; : kinds[found];
        }" />
</fragment>
'''
    description: 'Tells which kind of operation a GraphQL request asks for'
    format: 'xml'
  }
}

resource fragmentSkeinOnError 'Microsoft.ApiManagement/service/policyFragments@2024-05-01' = {
  parent: gateway
  name: 'skein-on-error'
  properties: {
    value: '''
<fragment>
    <choose>
        <when condition="@(context.LastError.Source == &quot;forward-request&quot; &amp;&amp; context.LastError.Reason == &quot;Timeout&quot;)">
            <set-status code="504" reason="Gateway Timeout" />
        </when>
        <when condition="@(context.LastError.Source == &quot;forward-request&quot; &amp;&amp; context.LastError.Reason != &quot;Timeout&quot;)">
            <set-status code="502" reason="Bad Gateway" />
        </when>
    </choose>
    <choose>
        <when condition="@(context.Response.StatusCode == 401)">
            <set-header name="WWW-Authenticate" exists-action="override">
                <value>Bearer</value>
            </set-header>
        </when>
    </choose>
    <set-header name="Content-Type" exists-action="override">
        <value>application/problem+json</value>
    </set-header>
    <set-header name="Cache-Control" exists-action="override">
        <value>no-store</value>
    </set-header>
    <set-header name="x-trace-id" exists-action="override">
        <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value>
    </set-header>
    <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, context.Response.StatusReason), new JProperty(&quot;status&quot;, context.Response.StatusCode), new JProperty(&quot;detail&quot;, context.LastError.Reason), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body>
</fragment>
'''
    description: 'Answers every error as a problem'
    format: 'xml'
  }
}

resource fragmentSkeinPrincipal 'Microsoft.ApiManagement/service/policyFragments@2024-05-01' = {
  parent: gateway
  name: 'skein-principal'
  properties: {
    value: '''
<fragment>
    <set-variable name="principal" value="@{
        /* Who asks, as the apps read it: base64url of subject, roles and the token's end in seconds since 1970. Empty where the
           token claims to be a service. */
        Jwt token = (Jwt)context.Variables[&quot;token&quot;];
        string subject = token.Subject;
        if (string.IsNullOrEmpty(subject) || (subject.Length &gt; 7 &amp;&amp; subject.Substring(0, 8) == &quot;service:&quot;)) { return string.Empty; }
        string[] claimed = token.Claims.ContainsKey(&quot;roles&quot;) ? token.Claims[&quot;roles&quot;] : new string[0];
        JArray roles = new JArray();
        foreach (string role in claimed) {
          if (role == &quot;service&quot;) { return string.Empty; }
          roles.Add(role);
        }
        JObject principal = new JObject(new JProperty(&quot;subject&quot;, subject), new JProperty(&quot;roles&quot;, roles));
        if (token.ExpirationTime != null) {
          principal.Add(new JProperty(&quot;exp&quot;, (token.ExpirationTime.Value.Ticks - new DateTime(1970, 1, 1).Ticks) / 10000000));
        }
        string text = Convert.ToBase64String(Encoding.UTF8.GetBytes(principal.ToString()));
        return text.Replace(&quot;+&quot;, &quot;-&quot;).Replace(&quot;/&quot;, &quot;_&quot;).Replace(&quot;=&quot;, string.Empty);
        }" />
    <choose>
        <when condition="@((string)context.Variables[&quot;principal&quot;] == string.Empty)">
            <return-response>
                <set-status code="401" reason="Unauthorized" />
                <set-header name="Content-Type" exists-action="override">
                    <value>application/problem+json</value>
                </set-header>
                <set-header name="Cache-Control" exists-action="override">
                    <value>no-store</value>
                </set-header>
                <set-header name="x-trace-id" exists-action="override">
                    <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value>
                </set-header>
                <set-header name="WWW-Authenticate" exists-action="override">
                    <value>Bearer</value>
                </set-header>
                <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Unauthorized&quot;), new JProperty(&quot;status&quot;, 401), new JProperty(&quot;detail&quot;, &quot;the token names nobody, or claims to be a service&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body>
            </return-response>
        </when>
    </choose>
    <set-header name="X-Skein-Principal" exists-action="override">
        <value>@((string)context.Variables[&quot;principal&quot;])</value>
    </set-header>
</fragment>
'''
    description: 'Tells the backend who asks'
    format: 'xml'
  }
}

resource fragmentSkeinStripHeaders 'Microsoft.ApiManagement/service/policyFragments@2024-05-01' = {
  parent: gateway
  name: 'skein-strip-headers'
  properties: {
    value: '''
<fragment>
    <set-header name="Cookie" exists-action="delete" />
    <set-header name="Forwarded" exists-action="delete" />
    <set-header name="X-ARR-ClientCert" exists-action="delete" />
    <set-header name="X-ARR-LOG-ID" exists-action="delete" />
    <set-header name="X-ARR-SSL" exists-action="delete" />
    <set-header name="X-Azure-FDID" exists-action="delete" />
    <set-header name="X-Forwarded-For" exists-action="delete" />
    <set-header name="X-Forwarded-Host" exists-action="delete" />
    <set-header name="X-Forwarded-Proto" exists-action="delete" />
    <set-header name="X-Functions-ClientId" exists-action="delete" />
    <set-header name="X-Functions-Key" exists-action="delete" />
    <set-header name="X-HTTP-Method-Override" exists-action="delete" />
    <set-header name="X-MS-CLIENT-PRINCIPAL" exists-action="delete" />
    <set-header name="X-MS-CLIENT-PRINCIPAL-ID" exists-action="delete" />
    <set-header name="X-MS-CLIENT-PRINCIPAL-IDP" exists-action="delete" />
    <set-header name="X-MS-CLIENT-PRINCIPAL-NAME" exists-action="delete" />
    <set-header name="X-MS-TOKEN-AAD-ACCESS-TOKEN" exists-action="delete" />
    <set-header name="X-MS-TOKEN-AAD-ID-TOKEN" exists-action="delete" />
    <set-header name="X-Original-Host" exists-action="delete" />
    <set-header name="X-Original-URL" exists-action="delete" />
    <set-header name="X-Skein-Kind" exists-action="delete" />
    <set-header name="X-Skein-Principal" exists-action="delete" />
</fragment>
'''
    description: 'Takes away the headers that only the platform or the gateway may set'
    format: 'xml'
  }
}

resource fragmentSkeinTrace 'Microsoft.ApiManagement/service/policyFragments@2024-05-01' = {
  parent: gateway
  name: 'skein-trace'
  properties: {
    value: '''
<fragment>
    <set-variable name="traceparent" value="@{
        /* The client's trace if it names one, else a new one. */
        string given = context.Request.Headers.GetValueOrDefault(&quot;traceparent&quot;, string.Empty);
        if (Regex.IsMatch(given, &quot;^00-(?!0{32})[0-9a-f]{32}-(?!0{16})[0-9a-f]{16}-[0-9a-f]{2}$&quot;)) { return given; }
        return &quot;00-&quot; + context.RequestId.ToString(&quot;N&quot;) + &quot;-&quot; + Guid.NewGuid().ToString(&quot;N&quot;).Substring(0, 16) + &quot;-01&quot;;
        }" />
    <set-variable name="traceId" value="@(((string)context.Variables[&quot;traceparent&quot;]).Substring(3, 32))" />
    <set-header name="traceparent" exists-action="override">
        <value>@((string)context.Variables[&quot;traceparent&quot;])</value>
    </set-header>
</fragment>
'''
    description: 'Gives the request a trace'
    format: 'xml'
  }
}

resource policy 'Microsoft.ApiManagement/service/policies@2024-05-01' = {
  parent: gateway
  name: 'policy'
  properties: {
    value: gatewayTier == 'Consumption' ? '<policies> <inbound> <include-fragment fragment-id="skein-trace" /> <cors allow-credentials="false" terminate-unmatched-request="true"> <allowed-origins> <origin>{{skein-site-origin}}</origin> </allowed-origins> <allowed-methods preflight-result-max-age="600"> <method>GET</method> <method>POST</method> </allowed-methods> <allowed-headers> <header>accept</header> <header>authorization</header> <header>content-type</header> <header>traceparent</header> </allowed-headers> <expose-headers> <header>x-trace-id</header> </expose-headers> </cors> <include-fragment fragment-id="skein-strip-headers" /> </inbound> <backend> <forward-request timeout="30" follow-redirects="false" buffer-request-body="false" buffer-response="true" fail-on-error-status-code="false" /> </backend> <outbound> <set-header name="Server" exists-action="delete" /> <set-header name="X-Powered-By" exists-action="delete" /> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="X-Content-Type-Options" exists-action="override"> <value>nosniff</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> </outbound> <on-error> <include-fragment fragment-id="skein-on-error" /> </on-error> </policies>' : '<policies> <inbound> <include-fragment fragment-id="skein-trace" /> <cors allow-credentials="false" terminate-unmatched-request="true"> <allowed-origins> <origin>{{skein-site-origin}}</origin> </allowed-origins> <allowed-methods preflight-result-max-age="600"> <method>GET</method> <method>POST</method> </allowed-methods> <allowed-headers> <header>accept</header> <header>authorization</header> <header>content-type</header> <header>traceparent</header> </allowed-headers> <expose-headers> <header>x-trace-id</header> </expose-headers> </cors> <include-fragment fragment-id="skein-strip-headers" /> </inbound> <backend> <forward-request timeout="240" follow-redirects="false" buffer-request-body="false" buffer-response="true" fail-on-error-status-code="false" /> </backend> <outbound> <set-header name="Server" exists-action="delete" /> <set-header name="X-Powered-By" exists-action="delete" /> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="X-Content-Type-Options" exists-action="override"> <value>nosniff</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> </outbound> <on-error> <include-fragment fragment-id="skein-on-error" /> </on-error> </policies>'
    format: 'xml'
  }
  dependsOn: [
    valueAppAudience
    valueTokenAudience
    valueTokenIssuer
    valueTokenConfiguration
    valueSiteUrl
    fragmentSkeinGraphqlHttp
    fragmentSkeinGraphqlKind
    fragmentSkeinOnError
    fragmentSkeinPrincipal
    fragmentSkeinStripHeaders
    fragmentSkeinTrace
  ]
}

resource backendGatewayRouter 'Microsoft.ApiManagement/service/backends@2024-05-01' = {
  parent: gateway
  name: 'gateway-router'
  properties: {
    url: '${routerUrl}/api'
    protocol: 'http'
    tls: {
      validateCertificateChain: true
      validateCertificateName: true
    }
  }
}

resource graph 'Microsoft.ApiManagement/service/apis@2024-05-01' = {
  parent: gateway
  name: 'graphql'
  properties: {
    path: 'graphql'
    displayName: 'all services'
    apiType: 'graphql'
    type: 'graphql'
    serviceUrl: '${routerUrl}/api/graphql'
    protocols: [
      'https'
    ]
    subscriptionRequired: false
  }
}

resource graphSchema 'Microsoft.ApiManagement/service/apis/schemas@2024-05-01' = {
  parent: graph
  name: 'graphql'
  properties: {
    contentType: 'application/vnd.ms-azure-apim.graphql.schema'
    document: {
      value: 'type Query {\n\tticket: String\n}\n\nschema {\n\tquery: Query\n}\n'
    }
  }
}

resource graphPolicy 'Microsoft.ApiManagement/service/apis/policies@2024-05-01' = {
  parent: graph
  name: 'policy'
  properties: {
    value: gatewayTier == 'Consumption' ? '<policies> <inbound> <base /> <validate-jwt header-name="Authorization" failed-validation-httpcode="401" failed-validation-error-message="a valid bearer token is required" require-expiration-time="true" require-signed-tokens="true" require-scheme="Bearer" clock-skew="60" output-token-variable-name="token"> <openid-config url="{{skein-openid-config}}" /> <audiences> <audience>{{skein-audience}}</audience> </audiences> <issuers> <issuer>{{skein-issuer}}</issuer> </issuers> </validate-jwt> <choose> <when condition="@(context.Request.Method != &quot;POST&quot;)"> <return-response> <set-status code="405" reason="Method Not Allowed" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-header name="Allow" exists-action="override"> <value>POST</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Method Not Allowed&quot;), new JProperty(&quot;status&quot;, 405), new JProperty(&quot;detail&quot;, &quot;this graph is asked by POST&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> </choose> <include-fragment fragment-id="skein-graphql-http" /> <include-fragment fragment-id="skein-graphql-kind" /> <choose> <when condition="@(context.Request.Method == &quot;GET&quot; &amp;&amp; (string)context.Variables[&quot;kind&quot;] == &quot;large&quot;)"> <return-response> <set-status code="414" reason="URI Too Long" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;URI Too Long&quot;), new JProperty(&quot;status&quot;, 414), new JProperty(&quot;detail&quot;, &quot;the query of a URL has at most 7168 characters&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;large&quot;)"> <return-response> <set-status code="413" reason="Payload Too Large" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Payload Too Large&quot;), new JProperty(&quot;status&quot;, 413), new JProperty(&quot;detail&quot;, &quot;a request has at most 262144 bytes&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@(context.Request.Method == &quot;GET&quot; &amp;&amp; (string)context.Variables[&quot;kind&quot;] == &quot;mutation&quot;)"> <return-response> <set-status code="405" reason="Method Not Allowed" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-header name="Allow" exists-action="override"> <value>POST</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Method Not Allowed&quot;), new JProperty(&quot;status&quot;, 405), new JProperty(&quot;detail&quot;, &quot;a GET reads: send mutations by POST&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;mutation&quot;)"> <set-backend-service backend-id="gateway-router" /> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;query&quot;)"> <set-backend-service backend-id="gateway-router" /> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;subscription&quot;)"> <return-response> <set-status code="400" reason="Bad Request" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Bad Request&quot;), new JProperty(&quot;status&quot;, 400), new JProperty(&quot;detail&quot;, &quot;subscriptions are not served here&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;none&quot;)"> <return-response> <set-status code="422" reason="Unprocessable Content" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Unprocessable Content&quot;), new JProperty(&quot;status&quot;, 422), new JProperty(&quot;detail&quot;, &quot;the request has no document, or names none of its operations&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <otherwise> <return-response> <set-status code="400" reason="Bad Request" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Bad Request&quot;), new JProperty(&quot;status&quot;, 400), new JProperty(&quot;detail&quot;, &quot;the request is no GraphQL request, or it is not certain which operation it asks for&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </otherwise> </choose> <include-fragment fragment-id="skein-principal" /> <set-header name="X-Skein-Kind" exists-action="override"> <value>@((string)context.Variables[&quot;kind&quot;])</value> </set-header> <choose> <when condition="@(context.Request.Method == &quot;GET&quot;)"> <rewrite-uri template="/graphql" copy-unmatched-params="true" /> </when> <otherwise> <rewrite-uri template="/graphql" copy-unmatched-params="false" /> </otherwise> </choose> <authentication-managed-identity resource="{{skein-app-audience}}" /> </inbound> <backend> <base /> </backend> <outbound> <base /> </outbound> <on-error> <base /> </on-error> </policies>' : '<policies> <inbound> <base /> <validate-jwt header-name="Authorization" failed-validation-httpcode="401" failed-validation-error-message="a valid bearer token is required" require-expiration-time="true" require-signed-tokens="true" require-scheme="Bearer" clock-skew="60" output-token-variable-name="token"> <openid-config url="{{skein-openid-config}}" /> <audiences> <audience>{{skein-audience}}</audience> </audiences> <issuers> <issuer>{{skein-issuer}}</issuer> </issuers> </validate-jwt> <rate-limit-by-key calls="600" renewal-period="60" counter-key="@(((Jwt)context.Variables[&quot;token&quot;]).Subject)" retry-after-header-name="Retry-After" /> <choose> <when condition="@(context.Request.Method != &quot;POST&quot;)"> <return-response> <set-status code="405" reason="Method Not Allowed" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-header name="Allow" exists-action="override"> <value>POST</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Method Not Allowed&quot;), new JProperty(&quot;status&quot;, 405), new JProperty(&quot;detail&quot;, &quot;this graph is asked by POST&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> </choose> <include-fragment fragment-id="skein-graphql-http" /> <include-fragment fragment-id="skein-graphql-kind" /> <choose> <when condition="@(context.Request.Method == &quot;GET&quot; &amp;&amp; (string)context.Variables[&quot;kind&quot;] == &quot;large&quot;)"> <return-response> <set-status code="414" reason="URI Too Long" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;URI Too Long&quot;), new JProperty(&quot;status&quot;, 414), new JProperty(&quot;detail&quot;, &quot;the query of a URL has at most 7168 characters&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;large&quot;)"> <return-response> <set-status code="413" reason="Payload Too Large" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Payload Too Large&quot;), new JProperty(&quot;status&quot;, 413), new JProperty(&quot;detail&quot;, &quot;a request has at most 262144 bytes&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@(context.Request.Method == &quot;GET&quot; &amp;&amp; (string)context.Variables[&quot;kind&quot;] == &quot;mutation&quot;)"> <return-response> <set-status code="405" reason="Method Not Allowed" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-header name="Allow" exists-action="override"> <value>POST</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Method Not Allowed&quot;), new JProperty(&quot;status&quot;, 405), new JProperty(&quot;detail&quot;, &quot;a GET reads: send mutations by POST&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;mutation&quot;)"> <set-backend-service backend-id="gateway-router" /> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;query&quot;)"> <set-backend-service backend-id="gateway-router" /> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;subscription&quot;)"> <return-response> <set-status code="400" reason="Bad Request" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Bad Request&quot;), new JProperty(&quot;status&quot;, 400), new JProperty(&quot;detail&quot;, &quot;subscriptions are not served here&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;none&quot;)"> <return-response> <set-status code="422" reason="Unprocessable Content" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Unprocessable Content&quot;), new JProperty(&quot;status&quot;, 422), new JProperty(&quot;detail&quot;, &quot;the request has no document, or names none of its operations&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <otherwise> <return-response> <set-status code="400" reason="Bad Request" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Bad Request&quot;), new JProperty(&quot;status&quot;, 400), new JProperty(&quot;detail&quot;, &quot;the request is no GraphQL request, or it is not certain which operation it asks for&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </otherwise> </choose> <include-fragment fragment-id="skein-principal" /> <set-header name="X-Skein-Kind" exists-action="override"> <value>@((string)context.Variables[&quot;kind&quot;])</value> </set-header> <choose> <when condition="@(context.Request.Method == &quot;GET&quot;)"> <rewrite-uri template="/graphql" copy-unmatched-params="true" /> </when> <otherwise> <rewrite-uri template="/graphql" copy-unmatched-params="false" /> </otherwise> </choose> <authentication-managed-identity resource="{{skein-app-audience}}" /> </inbound> <backend> <base /> </backend> <outbound> <base /> </outbound> <on-error> <base /> </on-error> </policies>'
    format: 'xml'
  }
  dependsOn: [
    backendGatewayRouter
    policy
  ]
}

