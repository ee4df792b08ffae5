// Rendered by `cargo xtask render`: a change here is lost with the next one.

param signalrName string

param identityDeskQueryId string

param identityDeskQueryPrincipalId string

param gatewayName string

param commandUrl string

param queryUrl string

param gatewayTier string

resource signalr 'Microsoft.SignalRService/signalR@2024-03-01' existing = {
  name: signalrName
}

resource gateway 'Microsoft.ApiManagement/service@2024-05-01' existing = {
  name: gatewayName
}

resource roleSignalRApiSignalrDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: signalr
  name: guid(signalr.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'fd53cd77-2268-407a-8f46-7e7863d0f521'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'fd53cd77-2268-407a-8f46-7e7863d0f521')
    principalType: 'ServicePrincipal'
    description: 'SignalR REST API Owner for desk-query on SignalR.'
  }
}

resource backendDeskCommand 'Microsoft.ApiManagement/service/backends@2024-05-01' = {
  parent: gateway
  name: 'desk-command'
  properties: {
    url: '${commandUrl}/api'
    protocol: 'http'
    tls: {
      validateCertificateChain: true
      validateCertificateName: true
    }
  }
}

resource backendDeskQuery 'Microsoft.ApiManagement/service/backends@2024-05-01' = {
  parent: gateway
  name: 'desk-query'
  properties: {
    url: '${queryUrl}/api'
    protocol: 'http'
    tls: {
      validateCertificateChain: true
      validateCertificateName: true
    }
  }
}

resource api 'Microsoft.ApiManagement/service/apis@2024-05-01' = {
  parent: gateway
  name: 'desk'
  properties: {
    path: 'desk'
    displayName: 'desk'
    protocols: [
      'https'
    ]
    subscriptionRequired: false
  }
}

resource operationPOST 'Microsoft.ApiManagement/service/apis/operations@2024-05-01' = {
  parent: api
  name: 'graphql-post'
  properties: {
    displayName: 'GraphQL by POST'
    method: 'POST'
    urlTemplate: '/graphql'
  }
}

resource operationGET 'Microsoft.ApiManagement/service/apis/operations@2024-05-01' = {
  parent: api
  name: 'graphql-get'
  properties: {
    displayName: 'GraphQL by GET'
    method: 'GET'
    urlTemplate: '/graphql'
  }
}

resource operationHEAD 'Microsoft.ApiManagement/service/apis/operations@2024-05-01' = {
  parent: api
  name: 'graphql-head'
  properties: {
    displayName: 'GraphQL by HEAD'
    method: 'HEAD'
    urlTemplate: '/graphql'
  }
}

resource operationPUT 'Microsoft.ApiManagement/service/apis/operations@2024-05-01' = {
  parent: api
  name: 'graphql-put'
  properties: {
    displayName: 'GraphQL by PUT'
    method: 'PUT'
    urlTemplate: '/graphql'
  }
}

resource operationPATCH 'Microsoft.ApiManagement/service/apis/operations@2024-05-01' = {
  parent: api
  name: 'graphql-patch'
  properties: {
    displayName: 'GraphQL by PATCH'
    method: 'PATCH'
    urlTemplate: '/graphql'
  }
}

resource operationDELETE 'Microsoft.ApiManagement/service/apis/operations@2024-05-01' = {
  parent: api
  name: 'graphql-delete'
  properties: {
    displayName: 'GraphQL by DELETE'
    method: 'DELETE'
    urlTemplate: '/graphql'
  }
}

resource policy 'Microsoft.ApiManagement/service/apis/policies@2024-05-01' = {
  parent: api
  name: 'policy'
  properties: {
    value: gatewayTier == 'Consumption' ? '<policies> <inbound> <base /> <validate-jwt header-name="Authorization" failed-validation-httpcode="401" failed-validation-error-message="a valid bearer token is required" require-expiration-time="true" require-signed-tokens="true" require-scheme="Bearer" clock-skew="60" output-token-variable-name="token"> <openid-config url="{{skein-openid-config}}" /> <audiences> <audience>{{skein-audience}}</audience> </audiences> <issuers> <issuer>{{skein-issuer}}</issuer> </issuers> </validate-jwt> <include-fragment fragment-id="skein-graphql-http" /> <include-fragment fragment-id="skein-graphql-kind" /> <choose> <when condition="@(context.Request.Method == &quot;GET&quot; &amp;&amp; (string)context.Variables[&quot;kind&quot;] == &quot;large&quot;)"> <return-response> <set-status code="414" reason="URI Too Long" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;URI Too Long&quot;), new JProperty(&quot;status&quot;, 414), new JProperty(&quot;detail&quot;, &quot;the query of a URL has at most 7168 characters&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;large&quot;)"> <return-response> <set-status code="413" reason="Payload Too Large" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Payload Too Large&quot;), new JProperty(&quot;status&quot;, 413), new JProperty(&quot;detail&quot;, &quot;a request has at most 262144 bytes&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@(context.Request.Method == &quot;GET&quot; &amp;&amp; (string)context.Variables[&quot;kind&quot;] == &quot;mutation&quot;)"> <return-response> <set-status code="405" reason="Method Not Allowed" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-header name="Allow" exists-action="override"> <value>POST</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Method Not Allowed&quot;), new JProperty(&quot;status&quot;, 405), new JProperty(&quot;detail&quot;, &quot;a GET reads: send mutations by POST&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;mutation&quot;)"> <set-backend-service backend-id="desk-command" /> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;query&quot;)"> <set-backend-service backend-id="desk-query" /> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;subscription&quot;)"> <return-response> <set-status code="400" reason="Bad Request" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Bad Request&quot;), new JProperty(&quot;status&quot;, 400), new JProperty(&quot;detail&quot;, &quot;subscriptions are not served here&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;none&quot;)"> <return-response> <set-status code="422" reason="Unprocessable Content" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Unprocessable Content&quot;), new JProperty(&quot;status&quot;, 422), new JProperty(&quot;detail&quot;, &quot;the request has no document, or names none of its operations&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <otherwise> <return-response> <set-status code="400" reason="Bad Request" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Bad Request&quot;), new JProperty(&quot;status&quot;, 400), new JProperty(&quot;detail&quot;, &quot;the request is no GraphQL request, or it is not certain which operation it asks for&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </otherwise> </choose> <include-fragment fragment-id="skein-principal" /> <set-header name="X-Skein-Kind" exists-action="override"> <value>@((string)context.Variables[&quot;kind&quot;])</value> </set-header> <choose> <when condition="@(context.Request.Method == &quot;GET&quot;)"> <rewrite-uri template="/graphql" copy-unmatched-params="true" /> </when> <otherwise> <rewrite-uri template="/graphql" copy-unmatched-params="false" /> </otherwise> </choose> <authentication-managed-identity resource="{{skein-app-audience}}" /> </inbound> <backend> <base /> </backend> <outbound> <base /> </outbound> <on-error> <base /> </on-error> </policies>' : '<policies> <inbound> <base /> <validate-jwt header-name="Authorization" failed-validation-httpcode="401" failed-validation-error-message="a valid bearer token is required" require-expiration-time="true" require-signed-tokens="true" require-scheme="Bearer" clock-skew="60" output-token-variable-name="token"> <openid-config url="{{skein-openid-config}}" /> <audiences> <audience>{{skein-audience}}</audience> </audiences> <issuers> <issuer>{{skein-issuer}}</issuer> </issuers> </validate-jwt> <rate-limit-by-key calls="120" renewal-period="60" counter-key="@(((Jwt)context.Variables[&quot;token&quot;]).Subject)" retry-after-header-name="Retry-After" /> <quota-by-key calls="50000" renewal-period="86400" counter-key="@(((Jwt)context.Variables[&quot;token&quot;]).Subject)" /> <include-fragment fragment-id="skein-graphql-http" /> <include-fragment fragment-id="skein-graphql-kind" /> <choose> <when condition="@(context.Request.Method == &quot;GET&quot; &amp;&amp; (string)context.Variables[&quot;kind&quot;] == &quot;large&quot;)"> <return-response> <set-status code="414" reason="URI Too Long" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;URI Too Long&quot;), new JProperty(&quot;status&quot;, 414), new JProperty(&quot;detail&quot;, &quot;the query of a URL has at most 7168 characters&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;large&quot;)"> <return-response> <set-status code="413" reason="Payload Too Large" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Payload Too Large&quot;), new JProperty(&quot;status&quot;, 413), new JProperty(&quot;detail&quot;, &quot;a request has at most 262144 bytes&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@(context.Request.Method == &quot;GET&quot; &amp;&amp; (string)context.Variables[&quot;kind&quot;] == &quot;mutation&quot;)"> <return-response> <set-status code="405" reason="Method Not Allowed" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-header name="Allow" exists-action="override"> <value>POST</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Method Not Allowed&quot;), new JProperty(&quot;status&quot;, 405), new JProperty(&quot;detail&quot;, &quot;a GET reads: send mutations by POST&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;mutation&quot;)"> <set-backend-service backend-id="desk-command" /> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;query&quot;)"> <set-backend-service backend-id="desk-query" /> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;subscription&quot;)"> <return-response> <set-status code="400" reason="Bad Request" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Bad Request&quot;), new JProperty(&quot;status&quot;, 400), new JProperty(&quot;detail&quot;, &quot;subscriptions are not served here&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <when condition="@((string)context.Variables[&quot;kind&quot;] == &quot;none&quot;)"> <return-response> <set-status code="422" reason="Unprocessable Content" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Unprocessable Content&quot;), new JProperty(&quot;status&quot;, 422), new JProperty(&quot;detail&quot;, &quot;the request has no document, or names none of its operations&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </when> <otherwise> <return-response> <set-status code="400" reason="Bad Request" /> <set-header name="Content-Type" exists-action="override"> <value>application/problem+json</value> </set-header> <set-header name="Cache-Control" exists-action="override"> <value>no-store</value> </set-header> <set-header name="x-trace-id" exists-action="override"> <value>@(context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))</value> </set-header> <set-body>@(new JObject(new JProperty(&quot;type&quot;, &quot;about:blank&quot;), new JProperty(&quot;title&quot;, &quot;Bad Request&quot;), new JProperty(&quot;status&quot;, 400), new JProperty(&quot;detail&quot;, &quot;the request is no GraphQL request, or it is not certain which operation it asks for&quot;), new JProperty(&quot;traceId&quot;, context.Variables.GetValueOrDefault&lt;string&gt;(&quot;traceId&quot;, context.RequestId.ToString(&quot;N&quot;)))).ToString())</set-body> </return-response> </otherwise> </choose> <include-fragment fragment-id="skein-principal" /> <set-header name="X-Skein-Kind" exists-action="override"> <value>@((string)context.Variables[&quot;kind&quot;])</value> </set-header> <choose> <when condition="@(context.Request.Method == &quot;GET&quot;)"> <rewrite-uri template="/graphql" copy-unmatched-params="true" /> </when> <otherwise> <rewrite-uri template="/graphql" copy-unmatched-params="false" /> </otherwise> </choose> <authentication-managed-identity resource="{{skein-app-audience}}" /> </inbound> <backend> <base /> </backend> <outbound> <base /> </outbound> <on-error> <base /> </on-error> </policies>'
    format: 'xml'
  }
  dependsOn: [
    backendDeskCommand
    backendDeskQuery
  ]
}

resource subscriptions 'Microsoft.ApiManagement/service/apis@2024-05-01' = {
  parent: gateway
  name: 'desk-subscriptions'
  properties: {
    path: 'desk/subscriptions'
    displayName: 'desk-subscriptions'
    protocols: [
      'https'
    ]
    subscriptionRequired: false
  }
}

resource negotiate 'Microsoft.ApiManagement/service/apis/operations@2024-05-01' = {
  parent: subscriptions
  name: 'negotiate'
  properties: {
    displayName: 'How to connect'
    method: 'POST'
    urlTemplate: '/negotiate'
  }
}

resource subscriptionsPolicy 'Microsoft.ApiManagement/service/apis/policies@2024-05-01' = {
  parent: subscriptions
  name: 'policy'
  properties: {
    value: gatewayTier == 'Consumption' ? '<policies> <inbound> <base /> <validate-jwt header-name="Authorization" failed-validation-httpcode="401" failed-validation-error-message="a valid bearer token is required" require-expiration-time="true" require-signed-tokens="true" require-scheme="Bearer" clock-skew="60" output-token-variable-name="token"> <openid-config url="{{skein-openid-config}}" /> <audiences> <audience>{{skein-audience}}</audience> </audiences> <issuers> <issuer>{{skein-issuer}}</issuer> </issuers> </validate-jwt> <include-fragment fragment-id="skein-principal" /> <set-backend-service backend-id="desk-query" /> <rewrite-uri template="/negotiate" copy-unmatched-params="false" /> <authentication-managed-identity resource="{{skein-app-audience}}" /> </inbound> <backend> <base /> </backend> <outbound> <base /> </outbound> <on-error> <base /> </on-error> </policies>' : '<policies> <inbound> <base /> <validate-jwt header-name="Authorization" failed-validation-httpcode="401" failed-validation-error-message="a valid bearer token is required" require-expiration-time="true" require-signed-tokens="true" require-scheme="Bearer" clock-skew="60" output-token-variable-name="token"> <openid-config url="{{skein-openid-config}}" /> <audiences> <audience>{{skein-audience}}</audience> </audiences> <issuers> <issuer>{{skein-issuer}}</issuer> </issuers> </validate-jwt> <rate-limit-by-key calls="120" renewal-period="60" counter-key="@(((Jwt)context.Variables[&quot;token&quot;]).Subject)" retry-after-header-name="Retry-After" /> <quota-by-key calls="50000" renewal-period="86400" counter-key="@(((Jwt)context.Variables[&quot;token&quot;]).Subject)" /> <include-fragment fragment-id="skein-principal" /> <set-backend-service backend-id="desk-query" /> <rewrite-uri template="/negotiate" copy-unmatched-params="false" /> <authentication-managed-identity resource="{{skein-app-audience}}" /> </inbound> <backend> <base /> </backend> <outbound> <base /> </outbound> <on-error> <base /> </on-error> </policies>'
    format: 'xml'
  }
  dependsOn: [
    backendDeskCommand
    backendDeskQuery
  ]
}

