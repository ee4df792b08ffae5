// Rendered by `cargo xtask render`: a change here is lost with the next one.

param environment string

param location string

param suffix string

param workspaceId string

param actionGroupId string

param storageRedundancy string

param operatorsId string

param identityHallCommandId string

param identityHallCommandPrincipalId string

param identityHallQueryId string

param identityHallQueryPrincipalId string

param busEndpoint string

param appClientId string

param appAudience string

param identityHallCommandClientId string

param identityHallQueryClientId string

param gatewayPrincipalId string

param introspection string

param persistedOnly string

param topicEndpoint string

param siteUrl string

param vaultName string

param instanceMemoryMB int

param maximumInstanceCount int

resource store0 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: 'stskeinhall${suffix}'
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
    layer: 'hall'
  }
}

resource store0Blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-08-01' = {
  parent: store0
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

resource store0Tables 'Microsoft.Storage/storageAccounts/tableServices@2025-06-01' = {
  parent: store0
  name: 'default'
}

resource store0TableEvents 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = {
  parent: store0Tables
  name: 'events'
}

resource roleTableContributorStore0TableEventsHallCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: store0TableEvents
  name: guid(store0TableEvents.id, identityHallCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'))
  properties: {
    principalId: identityHallCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
    principalType: 'ServicePrincipal'
    description: 'Storage Table Data Contributor for hall-command on the table events of stskeinhall.'
  }
}

resource roleTableReaderStore0TableEventsOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: store0TableEvents
  name: guid(store0TableEvents.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '76199698-9eea-4c19-bc75-cec21354c6b6'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '76199698-9eea-4c19-bc75-cec21354c6b6')
    principalType: 'Group'
    description: 'Storage Table Data Reader for operators on the table events of stskeinhall.'
  }
}

resource store0TableFaults 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = {
  parent: store0Tables
  name: 'faults'
}

resource roleTableContributorStore0TableFaultsHallCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: store0TableFaults
  name: guid(store0TableFaults.id, identityHallCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'))
  properties: {
    principalId: identityHallCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
    principalType: 'ServicePrincipal'
    description: 'Storage Table Data Contributor for hall-command on the table faults of stskeinhall.'
  }
}

resource roleTableContributorStore0TableFaultsHallQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: store0TableFaults
  name: guid(store0TableFaults.id, identityHallQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'))
  properties: {
    principalId: identityHallQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
    principalType: 'ServicePrincipal'
    description: 'Storage Table Data Contributor for hall-query on the table faults of stskeinhall.'
  }
}

resource roleTableReaderStore0TableFaultsOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: store0TableFaults
  name: guid(store0TableFaults.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '76199698-9eea-4c19-bc75-cec21354c6b6'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '76199698-9eea-4c19-bc75-cec21354c6b6')
    principalType: 'Group'
    description: 'Storage Table Data Reader for operators on the table faults of stskeinhall.'
  }
}

resource store0Diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: store0
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

resource store1 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: 'stskeinhall1${suffix}'
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
    layer: 'hall'
  }
}

resource store1Blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-08-01' = {
  parent: store1
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

resource store1Tables 'Microsoft.Storage/storageAccounts/tableServices@2025-06-01' = {
  parent: store1
  name: 'default'
}

resource store1TableEvents 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = {
  parent: store1Tables
  name: 'events'
}

resource roleTableContributorStore1TableEventsHallCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: store1TableEvents
  name: guid(store1TableEvents.id, identityHallCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'))
  properties: {
    principalId: identityHallCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
    principalType: 'ServicePrincipal'
    description: 'Storage Table Data Contributor for hall-command on the table events of stskeinhall1.'
  }
}

resource roleTableReaderStore1TableEventsOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: store1TableEvents
  name: guid(store1TableEvents.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '76199698-9eea-4c19-bc75-cec21354c6b6'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '76199698-9eea-4c19-bc75-cec21354c6b6')
    principalType: 'Group'
    description: 'Storage Table Data Reader for operators on the table events of stskeinhall1.'
  }
}

resource store1TableFaults 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = {
  parent: store1Tables
  name: 'faults'
}

resource roleTableContributorStore1TableFaultsHallCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: store1TableFaults
  name: guid(store1TableFaults.id, identityHallCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'))
  properties: {
    principalId: identityHallCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
    principalType: 'ServicePrincipal'
    description: 'Storage Table Data Contributor for hall-command on the table faults of stskeinhall1.'
  }
}

resource roleTableReaderStore1TableFaultsOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: store1TableFaults
  name: guid(store1TableFaults.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '76199698-9eea-4c19-bc75-cec21354c6b6'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '76199698-9eea-4c19-bc75-cec21354c6b6')
    principalType: 'Group'
    description: 'Storage Table Data Reader for operators on the table faults of stskeinhall1.'
  }
}

resource store1Diagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: store1
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

resource hostHallCommand 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: 'stskeinhallc${suffix}'
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
    layer: 'hall'
  }
}

resource hostHallCommandBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-08-01' = {
  parent: hostHallCommand
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

resource packagesHallCommand 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: hostHallCommandBlobs
  name: 'packages'
  properties: {
    publicAccess: 'None'
  }
}

resource roleBlobOwnerHostHallCommandHallCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hostHallCommand
  name: guid(hostHallCommand.id, identityHallCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'))
  properties: {
    principalId: identityHallCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b')
    principalType: 'ServicePrincipal'
    description: 'Storage Blob Data Owner for hall-command on the host\'s storage of hall-command.'
  }
}

resource hostHallQuery 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: 'stskeinhallq${suffix}'
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
    layer: 'hall'
  }
}

resource hostHallQueryBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-08-01' = {
  parent: hostHallQuery
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

resource packagesHallQuery 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: hostHallQueryBlobs
  name: 'packages'
  properties: {
    publicAccess: 'None'
  }
}

resource roleBlobOwnerHostHallQueryHallQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hostHallQuery
  name: guid(hostHallQuery.id, identityHallQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'))
  properties: {
    principalId: identityHallQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b')
    principalType: 'ServicePrincipal'
    description: 'Storage Blob Data Owner for hall-query on the host\'s storage of hall-query.'
  }
}

resource planHallCommand 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: 'plan-hall-command'
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
    layer: 'hall'
  }
}

resource siteHallCommand 'Microsoft.Web/sites@2024-11-01' = {
  name: 'func-hall-command-${suffix}'
  location: location
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityHallCommandId}': {}
    }
  }
  properties: {
    clientAffinityEnabled: false
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${hostHallCommand.properties.primaryEndpoints.blob}packages'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityHallCommandId
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
    keyVaultReferenceIdentity: identityHallCommandId
    publicNetworkAccess: 'Enabled'
    serverFarmId: planHallCommand.id
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
    layer: 'hall'
  }
  dependsOn: [
    packagesHallCommand
  ]
}

resource settingsHallCommand 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: siteHallCommand
  name: 'appsettings'
  properties: {
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'Authorization=AAD;ClientId=${identityHallCommandClientId}'
    APPLICATIONINSIGHTS_CONNECTION_STRING: '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=appinsights-connection-string)'
    AZURE_CLIENT_ID: identityHallCommandClientId
    AzureWebJobsStorage__accountName: 'stskeinhallc${suffix}'
    AzureWebJobsStorage__clientId: identityHallCommandClientId
    AzureWebJobsStorage__credential: 'managedidentity'
    COMMANDS__clientId: identityHallCommandClientId
    COMMANDS__credential: 'managedidentity'
    COMMANDS__fullyQualifiedNamespace: 'sb-skein-${suffix}.servicebus.windows.net'
    FUNCTIONS_EXTENSION_VERSION: '~4'
    SKEIN_APP: 'func-hall-command-${suffix}'
    SKEIN_APP_AUDIENCE: appAudience
    SKEIN_COMMAND_QUEUES: 'desk/rebuild=${replace(busEndpoint, 'sb-skein-${suffix}', 'sb-skein-desk-${suffix}')}rebuild,hall=${busEndpoint}hall-commands'
    SKEIN_EVENT_STORE: '${store0.properties.primaryEndpoints.table},${store1.properties.primaryEndpoints.table}'
    SKEIN_FRONT_PRINCIPAL_IDS: gatewayPrincipalId
    SKEIN_INTROSPECTION: introspection
    SKEIN_OUTCOMES_PRINCIPAL_IDS: identityHallQueryPrincipalId
    SKEIN_PERSISTED_ONLY: persistedOnly
    SKEIN_SERVICE: 'hall'
    SKEIN_TOPIC: topicEndpoint
  }
}

resource authenticationHallCommand 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: siteHallCommand
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
                identityHallQueryPrincipalId
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
    settingsHallCommand
  ]
}

resource ftpHallCommand 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: siteHallCommand
  name: 'ftp'
  properties: {
    allow: false
  }
  dependsOn: [
    authenticationHallCommand
  ]
}

resource scmHallCommand 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: siteHallCommand
  name: 'scm'
  properties: {
    allow: false
  }
  dependsOn: [
    ftpHallCommand
  ]
}

resource siteHallCommandDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: siteHallCommand
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

resource planHallQuery 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: 'plan-hall-query'
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
    layer: 'hall'
  }
}

resource siteHallQuery 'Microsoft.Web/sites@2024-11-01' = {
  name: 'func-hall-query-${suffix}'
  location: location
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityHallQueryId}': {}
    }
  }
  properties: {
    clientAffinityEnabled: false
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${hostHallQuery.properties.primaryEndpoints.blob}packages'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityHallQueryId
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
    keyVaultReferenceIdentity: identityHallQueryId
    publicNetworkAccess: 'Enabled'
    serverFarmId: planHallQuery.id
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
    layer: 'hall'
  }
  dependsOn: [
    packagesHallQuery
  ]
}

resource settingsHallQuery 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: siteHallQuery
  name: 'appsettings'
  properties: {
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'Authorization=AAD;ClientId=${identityHallQueryClientId}'
    APPLICATIONINSIGHTS_CONNECTION_STRING: '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=appinsights-connection-string)'
    AZURE_CLIENT_ID: identityHallQueryClientId
    AzureWebJobsStorage__accountName: 'stskeinhallq${suffix}'
    AzureWebJobsStorage__clientId: identityHallQueryClientId
    AzureWebJobsStorage__credential: 'managedidentity'
    EVENTS__clientId: identityHallQueryClientId
    EVENTS__credential: 'managedidentity'
    EVENTS__fullyQualifiedNamespace: 'sb-skein-${suffix}.servicebus.windows.net'
    FUNCTIONS_EXTENSION_VERSION: '~4'
    REBUILD__clientId: identityHallQueryClientId
    REBUILD__credential: 'managedidentity'
    REBUILD__fullyQualifiedNamespace: 'sb-skein-${suffix}.servicebus.windows.net'
    SKEIN_APP: 'func-hall-query-${suffix}'
    SKEIN_APP_AUDIENCE: appAudience
    SKEIN_COMMAND_APP: format(siteUrl, 'func-hall-command-${suffix}')
    SKEIN_COMMAND_QUEUES: 'desk=${replace(busEndpoint, 'sb-skein-${suffix}', 'sb-skein-desk-${suffix}')}commands,hall=${busEndpoint}hall-commands,hall/events=${busEndpoint}hall-events,hall/rebuild=${busEndpoint}hall-rebuild'
    SKEIN_FRONT_PRINCIPAL_IDS: gatewayPrincipalId
    SKEIN_INTROSPECTION: introspection
    SKEIN_PERSISTED_ONLY: persistedOnly
    SKEIN_QUERY_STORE: store0.properties.primaryEndpoints.table
    SKEIN_SERVICE: 'hall'
    SKEIN_SOURCES: 'ticket=desk'
  }
}

resource authenticationHallQuery 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: siteHallQuery
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
    settingsHallQuery
  ]
}

resource ftpHallQuery 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: siteHallQuery
  name: 'ftp'
  properties: {
    allow: false
  }
  dependsOn: [
    authenticationHallQuery
  ]
}

resource scmHallQuery 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: siteHallQuery
  name: 'scm'
  properties: {
    allow: false
  }
  dependsOn: [
    ftpHallQuery
  ]
}

resource siteHallQueryDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: siteHallQuery
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

output commandUrl string = format(siteUrl, 'func-hall-command-${suffix}')
output commandSite string = 'func-hall-command-${suffix}'
output queryUrl string = format(siteUrl, 'func-hall-query-${suffix}')
output querySite string = 'func-hall-query-${suffix}'

