// The surroundings of a policy expression, as far as the policies here use them. Expressions become methods of
// `Expressions`, which is generated from the policies' XML.
using System;
using System.Collections.Generic;
using System.IO;
using System.Linq;
using System.Text;
using Newtonsoft.Json.Linq;

public class Jwt
{
    public string Subject;
    public string Issuer;
    public DateTime? ExpirationTime;
    public IReadOnlyDictionary<string, string[]> Claims;
}

public class Body
{
    public string Text;
    public T As<T>(bool preserveContent = false)
    {
        if (!preserveContent) { throw new InvalidOperationException("the body would be consumed"); }
        return (T)(object)Text;
    }
}

public class Url
{
    public string QueryString;
}

public class Message
{
    public Body Body;
    public string Method = "POST";
    public Url OriginalUrl = new Url();
    public IReadOnlyDictionary<string, string[]> Headers = new Dictionary<string, string[]>(StringComparer.OrdinalIgnoreCase);
    public int StatusCode;
    public string StatusReason;
}

public class LastError
{
    public string Source;
    public string Reason;
}

public class Context
{
    public Message Request = new Message();
    public Message Response = new Message();
    public LastError LastError = new LastError();
    public Guid RequestId = Guid.NewGuid();
    public IReadOnlyDictionary<string, object> Variables = new Dictionary<string, object>();
}

public static class Lookups
{
    public static string GetValueOrDefault(this IReadOnlyDictionary<string, string[]> headers, string name, string other)
    {
        string[] values;
        return headers.TryGetValue(name, out values) ? string.Join(",", values) : other;
    }

    public static T GetValueOrDefault<T>(this IReadOnlyDictionary<string, object> variables, string name, T other)
    {
        object value;
        return variables.TryGetValue(name, out value) ? (T)value : other;
    }
}

public static class Harness
{
    // Reads one case a line, base64 of UTF-8 JSON: {"expression", "method", "query", "body", "headers", "variables",
    // "token", "status", "error"}; writes the result of each, base64 of UTF-8.
    public static int Main(string[] arguments)
    {
        var kinds = arguments.Length == 1 && arguments[0] == "kinds";
        var queries = arguments.Length == 1 && arguments[0] == "queries";
        using (var input = new StreamReader(Console.OpenStandardInput(), Encoding.ASCII))
        using (var output = new StreamWriter(Console.OpenStandardOutput(), new ASCIIEncoding()))
        {
            string line;
            while ((line = input.ReadLine()) != null)
            {
                var text = Encoding.UTF8.GetString(Convert.FromBase64String(line));
                output.Write(kinds ? Kind(text) : queries ? KindOfQuery(text) : Run(JObject.Parse(text)));
                output.Write('\n');
            }
        }
        return 0;
    }

    // For many bodies: the verdict itself.
    static string Kind(string body)
    {
        var context = new Context();
        context.Request.Body = new Body { Text = body };
        return (string)Expressions.Kind(context);
    }

    // For many queries of URLs, with their question marks: the verdict itself.
    static string KindOfQuery(string query)
    {
        var context = new Context();
        context.Request.Method = "GET";
        context.Request.OriginalUrl.QueryString = query;
        return (string)Expressions.Kind(context);
    }

    // A time of a token, as a DateTime that goes no further than the year 9999.
    static DateTime? Time(double? seconds)
    {
        if (seconds == null) { return null; }
        if (seconds >= 253402300800) { return DateTime.MaxValue; }
        var whole = Math.Floor(seconds.Value);
        var ticks = (long)whole * 10000000 + (long)((seconds.Value - whole) * 10000000);
        return new DateTime(1970, 1, 1, 0, 0, 0, DateTimeKind.Utc).AddTicks(ticks);
    }

    static string Run(JObject given)
    {
        var context = new Context();
        if (given["method"] != null) { context.Request.Method = (string)given["method"]; }
        if (given["query"] != null) { context.Request.OriginalUrl.QueryString = (string)given["query"]; }
        if (given["body"] != null) { context.Request.Body = new Body { Text = (string)given["body"] }; }
        var headers = new Dictionary<string, string[]>(StringComparer.OrdinalIgnoreCase);
        foreach (var header in given["headers"] as JObject ?? new JObject())
        {
            headers[header.Key] = new[] { (string)header.Value };
        }
        context.Request.Headers = headers;
        var variables = new Dictionary<string, object>();
        foreach (var variable in given["variables"] as JObject ?? new JObject())
        {
            variables[variable.Key] = variable.Value.Type == JTokenType.Boolean ? (object)(bool)variable.Value : (string)variable.Value;
        }
        var token = given["token"] as JObject;
        if (token != null)
        {
            var claims = new Dictionary<string, string[]>();
            if (token["roles"] is JArray) { claims["roles"] = token["roles"].Select(role => (string)role).ToArray(); }
            variables["token"] = new Jwt { Subject = (string)token["sub"], Claims = claims, ExpirationTime = Time((double?)token["exp"]) };
        }
        context.Variables = variables;
        if (given["status"] != null)
        {
            context.Response.StatusCode = (int)given["status"];
            context.Response.StatusReason = "Reason";
        }
        if (given["error"] != null)
        {
            context.LastError.Source = (string)given["error"][0];
            context.LastError.Reason = (string)given["error"][1];
        }
        string told;
        try
        {
            var result = Expressions.All[(string)given["expression"]](context);
            told = result == null ? "null" : result.ToString();
        }
        catch (Exception error)
        {
            told = "thrown: " + error.GetType().Name;
        }
        return Convert.ToBase64String(Encoding.UTF8.GetBytes(told));
    }
}
