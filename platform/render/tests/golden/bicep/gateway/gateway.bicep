// Rendered by `cargo xtask render`: a change here is lost with the next one.

param environment string

param location string

param suffix string

param workspaceId string

param gatewayTier string

param publisherEmail string

param publisherName string

param signalrTier string

param signalrUrl string

param siteUrl string

param appAudience string

param deployerId string

param storageRedundancy string

resource gateway 'Microsoft.ApiManagement/service@2024-05-01' = {
  name: 'apim-skein-${suffix}'
  location: location
  properties: {
    publisherEmail: publisherEmail
    publisherName: publisherName
  }
  sku: {
    capacity: gatewayTier == 'Consumption' ? 0 : 1
    name: gatewayTier
  }
  identity: {
    type: 'SystemAssigned'
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'gateway'
  }
}

resource gatewayDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = if (gatewayTier != 'Consumption') {
  scope: gateway
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    metrics: [
      {
        enabled: true
        category: 'AllMetrics'
      }
    ]
    logs: [
      {
        enabled: true
        categoryGroup: 'allLogs'
      }
    ]
  }
}

resource siteAccount 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: 'stskeinweb${suffix}'
  kind: 'StorageV2'
  location: location
  sku: {
    name: storageRedundancy
  }
  properties: {
    allowBlobPublicAccess: false
    allowCrossTenantReplication: false
    allowSharedKeyAccess: false
    defaultToOAuthAuthentication: true
    minimumTlsVersion: 'TLS1_2'
    networkAcls: {
      defaultAction: 'Allow'
      bypass: 'AzureServices'
    }
    publicNetworkAccess: 'Enabled'
    supportsHttpsTrafficOnly: true
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'gateway'
  }
}

resource siteBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-08-01' = {
  parent: siteAccount
  name: 'default'
  properties: {
    deleteRetentionPolicy: {
      enabled: true
      days: 7
    }
    containerDeleteRetentionPolicy: {
      enabled: true
      days: 7
    }
    staticWebsite: {
      enabled: true
      indexDocument: 'index.html'
      errorDocument404Path: 'index.html'
    }
  }
}

resource siteAccountDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: siteAccount
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    metrics: [
      {
        enabled: true
        category: 'AllMetrics'
      }
    ]
  }
}

resource roleBlobContributorSiteAccountWhoDeploys 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (deployerId != '') {
  scope: siteAccount
  name: guid(siteAccount.id, deployerId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'))
  properties: {
    principalId: deployerId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
    principalType: 'ServicePrincipal'
    description: 'Storage Blob Data Contributor for who deploys on the account of the pages.'
  }
}

resource frontDoor 'Microsoft.Cdn/profiles@2025-06-01' = {
  name: 'afd-skein'
  location: 'global'
  sku: {
    name: 'Standard_AzureFrontDoor'
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'gateway'
  }
}

resource endpoint 'Microsoft.Cdn/profiles/afdEndpoints@2025-06-01' = {
  parent: frontDoor
  name: 'skein-${suffix}'
  location: 'global'
  properties: {
    enabledState: 'Enabled'
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'gateway'
  }
}

resource originsApi 'Microsoft.Cdn/profiles/originGroups@2025-06-01' = {
  parent: frontDoor
  name: 'api'
  properties: {
    healthProbeSettings: {
      probePath: '/status-0123456789abcdef'
      probeProtocol: 'Https'
      probeRequestType: 'HEAD'
      probeIntervalInSeconds: 100
    }
    loadBalancingSettings: {
      sampleSize: 4
      successfulSamplesRequired: 3
    }
  }
}

resource originApi 'Microsoft.Cdn/profiles/originGroups/origins@2025-06-01' = {
  parent: originsApi
  name: 'api'
  properties: {
    hostName: replace(replace(gateway.properties.gatewayUrl, 'https://', ''), '/', '')
    originHostHeader: replace(replace(gateway.properties.gatewayUrl, 'https://', ''), '/', '')
    enforceCertificateNameCheck: true
    httpPort: 80
    httpsPort: 443
    priority: 1
    weight: 1000
    enabledState: 'Enabled'
  }
}

resource routeApi 'Microsoft.Cdn/profiles/afdEndpoints/routes@2025-06-01' = {
  parent: endpoint
  name: 'api'
  properties: {
    originGroup: {
      id: originsApi.id
    }
    patternsToMatch: [
      '/graphql'
      '/graphql/*'
      '/desk/*'
    ]
    supportedProtocols: [
      'Http'
      'Https'
    ]
    httpsRedirect: 'Enabled'
    forwardingProtocol: 'HttpsOnly'
    linkToDefaultDomain: 'Enabled'
    enabledState: 'Enabled'
  }
  dependsOn: [
    originApi
  ]
}

resource originsSite 'Microsoft.Cdn/profiles/originGroups@2025-06-01' = {
  parent: frontDoor
  name: 'site'
  properties: {
    healthProbeSettings: {
      probePath: '/index.html'
      probeProtocol: 'Https'
      probeRequestType: 'HEAD'
      probeIntervalInSeconds: 100
    }
    loadBalancingSettings: {
      sampleSize: 4
      successfulSamplesRequired: 3
    }
  }
}

resource originSite 'Microsoft.Cdn/profiles/originGroups/origins@2025-06-01' = {
  parent: originsSite
  name: 'site'
  properties: {
    hostName: replace(replace(siteAccount.properties.primaryEndpoints.web, 'https://', ''), '/', '')
    originHostHeader: replace(replace(siteAccount.properties.primaryEndpoints.web, 'https://', ''), '/', '')
    enforceCertificateNameCheck: true
    httpPort: 80
    httpsPort: 443
    priority: 1
    weight: 1000
    enabledState: 'Enabled'
  }
}

resource routeSite 'Microsoft.Cdn/profiles/afdEndpoints/routes@2025-06-01' = {
  parent: endpoint
  name: 'site'
  properties: {
    originGroup: {
      id: originsSite.id
    }
    patternsToMatch: [
      '/*'
    ]
    supportedProtocols: [
      'Http'
      'Https'
    ]
    httpsRedirect: 'Enabled'
    forwardingProtocol: 'HttpsOnly'
    linkToDefaultDomain: 'Enabled'
    enabledState: 'Enabled'
  }
  dependsOn: [
    originSite
  ]
}

resource firewall 'Microsoft.Network/FrontDoorWebApplicationFirewallPolicies@2025-11-01' = {
  name: 'wafskein'
  location: 'global'
  sku: {
    name: 'Standard_AzureFrontDoor'
  }
  properties: {
    policySettings: {
      enabledState: 'Enabled'
      mode: 'Prevention'
      requestBodyCheck: 'Enabled'
      customBlockResponseStatusCode: 429
    }
    customRules: {
      rules: [
        {
          action: 'Block'
          matchConditions: [
            {
              matchValue: [
                '0.0.0.0/0'
                '::/0'
              ]
              matchVariable: 'RemoteAddr'
              operator: 'IPMatch'
            }
          ]
          priority: 100
          ruleType: 'RateLimitRule'
          name: 'RequestsOfOneAddress'
          enabledState: 'Enabled'
          rateLimitDurationInMinutes: 1
          rateLimitThreshold: 1000
        }
      ]
    }
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'gateway'
  }
}

resource security 'Microsoft.Cdn/profiles/securityPolicies@2025-06-01' = {
  parent: frontDoor
  name: 'firewall'
  properties: {
    parameters: {
      type: 'WebApplicationFirewall'
      wafPolicy: {
        id: firewall.id
      }
      associations: [
        {
          domains: [
            {
              id: endpoint.id
            }
          ]
          patternsToMatch: [
            '/*'
          ]
        }
      ]
    }
  }
}

resource frontDoorDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: frontDoor
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    metrics: [
      {
        enabled: true
        category: 'AllMetrics'
      }
    ]
    logs: [
      {
        enabled: true
        categoryGroup: 'allLogs'
      }
    ]
  }
}

resource signalr 'Microsoft.SignalRService/signalR@2024-03-01' = {
  name: 'sigr-skein-${suffix}'
  location: location
  kind: 'SignalR'
  sku: {
    name: signalrTier
    capacity: 1
  }
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    upstream: {
      templates: [
        {
          urlTemplate: '${format(siteUrl, 'func-desk-query-${suffix}')}/api/signalr'
          hubPattern: 'desk'
          categoryPattern: '*'
          eventPattern: '*'
          auth: {
            type: 'ManagedIdentity'
            managedIdentity: {
              resource: appAudience
            }
          }
        }
      ]
    }
    features: [
      {
        flag: 'ServiceMode'
        value: 'Serverless'
      }
    ]
    disableLocalAuth: true
    disableAadAuth: false
    tls: {
      clientCertEnabled: false
    }
    cors: {
      allowedOrigins: [
        'https://${endpoint.properties.hostName}'
      ]
    }
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'gateway'
  }
}

resource signalrDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: signalr
  name: 'to-workspace'
  properties: {
    workspaceId: workspaceId
    metrics: [
      {
        enabled: true
        category: 'AllMetrics'
      }
    ]
    logs: [
      {
        enabled: true
        categoryGroup: 'allLogs'
      }
    ]
  }
}

resource identityRouter 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-gateway-router'
  location: location
  tags: {
    system: 'skein'
    environment: environment
    layer: 'gateway'
  }
}

output gatewayName string = 'apim-skein-${suffix}'
output gatewayId string = gateway.id
output gatewayPrincipalId string = gateway.identity.principalId
output gatewayTier string = gatewayTier
output gatewayUrl string = gateway.properties.gatewayUrl
output routerClientId string = identityRouter.properties.clientId
output routerId string = identityRouter.id
output routerPrincipalId string = identityRouter.properties.principalId
output signalrEndpoint string = format(signalrUrl, signalr.properties.hostName)
output signalrName string = 'sigr-skein-${suffix}'
output signalrPrincipalId string = signalr.identity.principalId
output siteAccount string = 'stskeinweb${suffix}'
output siteEndpoint string = siteAccount.properties.primaryEndpoints.blob
output siteUrl string = 'https://${endpoint.properties.hostName}'

