// Rendered by `cargo xtask render`: a change here is lost with the next one.

param environment string

param location string

param suffix string

param routerClientId string

param routerId string

param routerPrincipalId string

param gatewayPrincipalId string

param appClientId string

param appAudience string

param siteUrl string

param introspection string

param persistedOnly string

param vaultName string

param workspaceId string

param instanceMemoryMB int

param maximumInstanceCount int

param storageRedundancy string

resource hostGatewayRouter 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: 'stskeinrouter${suffix}'
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

resource hostGatewayRouterBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-08-01' = {
  parent: hostGatewayRouter
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
  }
}

resource packagesGatewayRouter 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: hostGatewayRouterBlobs
  name: 'packages'
  properties: {
    publicAccess: 'None'
  }
}

resource roleBlobOwnerHostGatewayRouterGatewayRouter 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hostGatewayRouter
  name: guid(hostGatewayRouter.id, routerId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'))
  properties: {
    principalId: routerPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b')
    principalType: 'ServicePrincipal'
    description: 'Storage Blob Data Owner for gateway-router on the host\'s storage of gateway-router.'
  }
}

resource planGatewayRouter 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: 'plan-gateway-router'
  location: location
  kind: 'functionapp'
  sku: {
    tier: 'FlexConsumption'
    name: 'FC1'
  }
  properties: {
    reserved: true
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'gateway'
  }
}

resource siteGatewayRouter 'Microsoft.Web/sites@2024-11-01' = {
  name: 'func-gateway-router-${suffix}'
  location: location
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${routerId}': {}
    }
  }
  properties: {
    clientAffinityEnabled: false
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${hostGatewayRouter.properties.primaryEndpoints.blob}packages'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: routerId
          }
        }
      }
      runtime: {
        name: 'custom'
        version: '1.0'
      }
      scaleAndConcurrency: {
        instanceMemoryMB: instanceMemoryMB
        maximumInstanceCount: maximumInstanceCount
      }
    }
    httpsOnly: true
    keyVaultReferenceIdentity: routerId
    publicNetworkAccess: 'Enabled'
    serverFarmId: planGatewayRouter.id
    siteConfig: {
      ftpsState: 'Disabled'
      http20Enabled: true
      minTlsVersion: '1.2'
      scmMinTlsVersion: '1.2'
    }
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'gateway'
  }
  dependsOn: [
    packagesGatewayRouter
  ]
}

resource settingsGatewayRouter 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: siteGatewayRouter
  name: 'appsettings'
  properties: {
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'Authorization=AAD;ClientId=${routerClientId}'
    APPLICATIONINSIGHTS_CONNECTION_STRING: '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=appinsights-connection-string)'
    AZURE_CLIENT_ID: routerClientId
    AzureWebJobsStorage__accountName: 'stskeinrouter${suffix}'
    AzureWebJobsStorage__clientId: routerClientId
    AzureWebJobsStorage__credential: 'managedidentity'
    FUNCTIONS_EXTENSION_VERSION: '~4'
    SKEIN_APP: 'func-gateway-router-${suffix}'
    SKEIN_APP_AUDIENCE: appAudience
    SKEIN_COMMAND_APPS: 'desk=${format(siteUrl, 'func-desk-command-${suffix}')}'
    SKEIN_FRONT_PRINCIPAL_IDS: gatewayPrincipalId
    SKEIN_INTROSPECTION: introspection
    SKEIN_PERSISTED_ONLY: persistedOnly
    SKEIN_QUERY_APPS: 'desk=${format(siteUrl, 'func-desk-query-${suffix}')}'
  }
}

resource authenticationGatewayRouter 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: siteGatewayRouter
  name: 'authsettingsV2'
  properties: {
    platform: {
      enabled: true
    }
    globalValidation: {
      requireAuthentication: true
      unauthenticatedClientAction: 'Return401'
      excludedPaths: [
        '/api/health/live'
        '/api/health/ready'
      ]
    }
    httpSettings: {
      requireHttps: true
    }
    identityProviders: {
      azureActiveDirectory: {
        enabled: true
        registration: {
          clientId: appClientId
          openIdIssuer: format('{0}{1}/v2.0', az.environment().authentication.loginEndpoint, tenant().tenantId)
        }
        validation: {
          allowedAudiences: [
            appAudience
          ]
          defaultAuthorizationPolicy: {
            allowedPrincipals: {
              identities: [
                gatewayPrincipalId
              ]
            }
          }
        }
      }
    }
    login: {
      tokenStore: {
        enabled: false
      }
    }
  }
  dependsOn: [
    settingsGatewayRouter
  ]
}

resource ftpGatewayRouter 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: siteGatewayRouter
  name: 'ftp'
  properties: {
    allow: false
  }
  dependsOn: [
    authenticationGatewayRouter
  ]
}

resource scmGatewayRouter 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: siteGatewayRouter
  name: 'scm'
  properties: {
    allow: false
  }
  dependsOn: [
    ftpGatewayRouter
  ]
}

resource siteGatewayRouterDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: siteGatewayRouter
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

output routerSite string = 'func-gateway-router-${suffix}'
output routerUrl string = format(siteUrl, 'func-gateway-router-${suffix}')

