// Rendered by `cargo xtask render`: a change here is lost with the next one.

param environment string

param location string

param suffix string

param alertEmail string

param logQuotaGb int

param storageRedundancy string

param operatorsId string

param vaultMode string

resource identityDeskCommand 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-desk-command'
  location: location
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource identityDeskQuery 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-desk-query'
  location: location
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource identityHallCommand 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-hall-command'
  location: location
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource identityHallQuery 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' = {
  name: 'id-hall-query'
  location: location
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource workspace 'Microsoft.OperationalInsights/workspaces@2025-02-01' = {
  name: 'log-skein-${suffix}'
  location: location
  properties: {
    sku: {
      name: 'PerGB2018'
    }
    retentionInDays: 30
    workspaceCapping: {
      dailyQuotaGb: logQuotaGb
    }
    features: {
      disableLocalAuth: true
      enableLogAccessUsingOnlyResourcePermissions: true
    }
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource telemetry 'Microsoft.Insights/components@2020-02-02' = {
  name: 'appi-skein-${suffix}'
  kind: 'web'
  location: location
  properties: {
    Application_Type: 'web'
    WorkspaceResourceId: workspace.id
    IngestionMode: 'LogAnalytics'
    DisableLocalAuth: true
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' = {
  name: 'kv-skein-${suffix}'
  location: location
  properties: {
    sku: {
      family: 'A'
      name: 'standard'
    }
    tenantId: tenant().tenantId
    createMode: vaultMode
    enableRbacAuthorization: true
    enableSoftDelete: true
    softDeleteRetentionInDays: 90
    enablePurgeProtection: true
    networkAcls: {
      bypass: 'AzureServices'
      defaultAction: 'Allow'
    }
    publicNetworkAccess: 'Enabled'
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource telemetrySecret 'Microsoft.KeyVault/vaults/secrets@2024-11-01' = {
  parent: vault
  name: 'appinsights-connection-string'
  properties: {
    contentType: 'text/plain'
    value: telemetry.properties.ConnectionString
  }
}

resource deadLetterAccount 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: 'stskein${suffix}'
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
    layer: 'platform'
  }
}

resource blobs 'Microsoft.Storage/storageAccounts/blobServices@2025-08-01' = {
  parent: deadLetterAccount
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

resource deadLetters 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: 'eventgrid-deadletters'
  properties: {
    publicAccess: 'None'
  }
}

resource backups 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: blobs
  name: 'backups'
  properties: {
    publicAccess: 'None'
  }
}

resource topic 'Microsoft.EventGrid/topics@2025-02-15' = {
  name: 'evgt-skein-${suffix}'
  location: location
  identity: {
    type: 'SystemAssigned'
  }
  properties: {
    inputSchema: 'CloudEventSchemaV1_0'
    disableLocalAuth: true
    minimumTlsVersionAllowed: '1.2'
    publicNetworkAccess: 'Enabled'
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource roleBlobContributorDeadLettersTheTopic 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: deadLetters
  name: guid(deadLetters.id, topic.id, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'))
  properties: {
    principalId: topic.identity.principalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
    principalType: 'ServicePrincipal'
    description: 'Storage Blob Data Contributor for the topic on the container of dead letters.'
  }
}

resource roleBlobContributorDeadLettersOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: deadLetters
  name: guid(deadLetters.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
    principalType: 'Group'
    description: 'Storage Blob Data Contributor for operators on the container of dead letters.'
  }
}

resource roleBlobContributorBackupsOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: backups
  name: guid(backups.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'ba92f5b4-2d11-453d-a403-e96b0029c9fe')
    principalType: 'Group'
    description: 'Storage Blob Data Contributor for operators on the container of exports.'
  }
}

resource actions 'Microsoft.Insights/actionGroups@2023-01-01' = {
  name: 'ag-skein'
  location: 'global'
  properties: {
    enabled: true
    groupShortName: 'skein'
    emailReceivers: [
      {
        emailAddress: alertEmail
        name: 'mail'
        useCommonAlertSchema: true
      }
    ]
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource alertDeadLettered 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'evgt-skein-dead-lettered'
  location: 'global'
  properties: {
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          metricName: 'DeadLetteredCount'
          name: 'above-zero'
          operator: 'GreaterThan'
          threshold: 0
          timeAggregation: 'Total'
        }
      ]
    }
    enabled: true
    evaluationFrequency: 'PT5M'
    scopes: [
      topic.id
    ]
    severity: 1
    windowSize: 'PT5M'
    actions: [
      {
        actionGroupId: actions.id
      }
    ]
    autoMitigate: true
    description: 'Events could not be delivered and were put aside.'
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource alertDropped 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'evgt-skein-dropped'
  location: 'global'
  properties: {
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          metricName: 'DroppedEventCount'
          name: 'above-zero'
          operator: 'GreaterThan'
          threshold: 0
          timeAggregation: 'Total'
        }
      ]
    }
    enabled: true
    evaluationFrequency: 'PT5M'
    scopes: [
      topic.id
    ]
    severity: 0
    windowSize: 'PT5M'
    actions: [
      {
        actionGroupId: actions.id
      }
    ]
    autoMitigate: true
    description: 'Events could not be delivered and are lost.'
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource alertFailed 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'evgt-skein-failed-deliveries'
  location: 'global'
  properties: {
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          metricName: 'DeliveryAttemptFailCount'
          name: 'above-zero'
          operator: 'GreaterThan'
          threshold: 0
          timeAggregation: 'Total'
        }
      ]
    }
    enabled: true
    evaluationFrequency: 'PT5M'
    scopes: [
      topic.id
    ]
    severity: 3
    windowSize: 'PT5M'
    actions: [
      {
        actionGroupId: actions.id
      }
    ]
    autoMitigate: true
    description: 'Deliveries of events fail; they are tried again.'
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource alertRefused 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'evgt-skein-refused'
  location: 'global'
  properties: {
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          metricName: 'PublishFailCount'
          name: 'above-zero'
          operator: 'GreaterThan'
          threshold: 0
          timeAggregation: 'Total'
        }
      ]
    }
    enabled: true
    evaluationFrequency: 'PT5M'
    scopes: [
      topic.id
    ]
    severity: 1
    windowSize: 'PT5M'
    actions: [
      {
        actionGroupId: actions.id
      }
    ]
    autoMitigate: true
    description: 'The topic refuses what services publish.'
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource bus 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  name: 'sb-skein-${suffix}'
  location: location
  sku: {
    name: 'Standard'
    tier: 'Standard'
  }
  properties: {
    disableLocalAuth: true
    minimumTlsVersion: '1.2'
    publicNetworkAccess: 'Enabled'
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource busDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: bus
  name: 'to-workspace'
  properties: {
    workspaceId: workspace.id
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

resource alertDeadLetters 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'sb-skein-dead-letters'
  location: 'global'
  properties: {
    criteria: {
      'odata.type': 'Microsoft.Azure.Monitor.SingleResourceMultipleMetricCriteria'
      allOf: [
        {
          criterionType: 'StaticThresholdCriterion'
          metricName: 'DeadletteredMessages'
          name: 'above-zero'
          operator: 'GreaterThan'
          threshold: 0
          timeAggregation: 'Maximum'
          dimensions: [
            {
              name: 'EntityName'
              operator: 'Include'
              values: [
                '*'
              ]
            }
          ]
        }
      ]
    }
    enabled: true
    evaluationFrequency: 'PT5M'
    scopes: [
      bus.id
    ]
    severity: 1
    windowSize: 'PT5M'
    actions: [
      {
        actionGroupId: actions.id
      }
    ]
    autoMitigate: true
    description: 'Messages could not be handled and were put aside.'
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource topicDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: topic
  name: 'to-workspace'
  properties: {
    workspaceId: workspace.id
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

resource vaultDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: vault
  name: 'to-workspace'
  properties: {
    workspaceId: workspace.id
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

resource deadLetterAccountDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: deadLetterAccount
  name: 'to-workspace'
  properties: {
    workspaceId: workspace.id
    metrics: [
      {
        enabled: true
        category: 'AllMetrics'
      }
    ]
  }
}

output topicName string = 'evgt-skein-${suffix}'
output topicEndpoint string = replace(topic.properties.endpoint, '/api/events', '')
output topicId string = topic.id
output topicPrincipalId string = topic.identity.principalId
output deadLetterAccountId string = deadLetterAccount.id
output workspaceId string = workspace.id
output telemetryName string = 'appi-skein-${suffix}'
output vaultName string = 'kv-skein-${suffix}'
output vaultUri string = vault.properties.vaultUri
output actionGroupId string = actions.id
output busName string = 'sb-skein-${suffix}'
output busEndpoint string = bus.properties.serviceBusEndpoint

