// Rendered by `cargo xtask render`: a change here is lost with the next one.

param environment string

param location string

param suffix string

param workspaceId string

param actionGroupId string

param storageRedundancy string

param operatorsId string

param identityDeskCommandId string

param identityDeskCommandPrincipalId string

param identityDeskQueryId string

param identityDeskQueryPrincipalId string

param identityHallCommandId string

param identityHallCommandPrincipalId string

param identityHallQueryId string

param identityHallQueryPrincipalId string

param topicId string

param topicPrincipalId string

param appClientId string

param appAudience string

param routerPrincipalId string

param identityDeskCommandClientId string

param identityDeskQueryClientId string

param gatewayPrincipalId string

param introspection string

param persistedOnly string

param topicEndpoint string

param siteUrl string

param vaultUri string

param signalrEndpoint string

param signalrPrincipalId string

param vaultName string

param instanceMemoryMB int

param maximumInstanceCount int

resource store0 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: 'stskeindesk${suffix}'
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
    layer: 'desk'
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

resource store0TablePersons 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = {
  parent: store0Tables
  name: 'persons'
}

resource roleTableContributorStore0TablePersonsDeskCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: store0TablePersons
  name: guid(store0TablePersons.id, identityDeskCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'))
  properties: {
    principalId: identityDeskCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
    principalType: 'ServicePrincipal'
    description: 'Storage Table Data Contributor for desk-command on the table persons of stskeindesk.'
  }
}

resource roleTableReaderStore0TablePersonsDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: store0TablePersons
  name: guid(store0TablePersons.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '76199698-9eea-4c19-bc75-cec21354c6b6'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '76199698-9eea-4c19-bc75-cec21354c6b6')
    principalType: 'ServicePrincipal'
    description: 'Storage Table Data Reader for desk-query on the table persons of stskeindesk.'
  }
}

resource store0TableEvents 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = {
  parent: store0Tables
  name: 'events'
}

resource roleTableContributorStore0TableEventsDeskCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: store0TableEvents
  name: guid(store0TableEvents.id, identityDeskCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'))
  properties: {
    principalId: identityDeskCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
    principalType: 'ServicePrincipal'
    description: 'Storage Table Data Contributor for desk-command on the table events of stskeindesk.'
  }
}

resource roleTableReaderStore0TableEventsOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: store0TableEvents
  name: guid(store0TableEvents.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '76199698-9eea-4c19-bc75-cec21354c6b6'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '76199698-9eea-4c19-bc75-cec21354c6b6')
    principalType: 'Group'
    description: 'Storage Table Data Reader for operators on the table events of stskeindesk.'
  }
}

resource store0TableFaults 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = {
  parent: store0Tables
  name: 'faults'
}

resource roleTableContributorStore0TableFaultsDeskCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: store0TableFaults
  name: guid(store0TableFaults.id, identityDeskCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'))
  properties: {
    principalId: identityDeskCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
    principalType: 'ServicePrincipal'
    description: 'Storage Table Data Contributor for desk-command on the table faults of stskeindesk.'
  }
}

resource roleTableContributorStore0TableFaultsDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: store0TableFaults
  name: guid(store0TableFaults.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
    principalType: 'ServicePrincipal'
    description: 'Storage Table Data Contributor for desk-query on the table faults of stskeindesk.'
  }
}

resource roleTableReaderStore0TableFaultsOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: store0TableFaults
  name: guid(store0TableFaults.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '76199698-9eea-4c19-bc75-cec21354c6b6'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '76199698-9eea-4c19-bc75-cec21354c6b6')
    principalType: 'Group'
    description: 'Storage Table Data Reader for operators on the table faults of stskeindesk.'
  }
}

resource store0TableReactions 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = {
  parent: store0Tables
  name: 'reactions'
}

resource roleTableContributorStore0TableReactionsDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: store0TableReactions
  name: guid(store0TableReactions.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
    principalType: 'ServicePrincipal'
    description: 'Storage Table Data Contributor for desk-query on the table reactions of stskeindesk.'
  }
}

resource store0TableSubscriptions 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = {
  parent: store0Tables
  name: 'subscriptions'
}

resource roleTableContributorStore0TableSubscriptionsDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: store0TableSubscriptions
  name: guid(store0TableSubscriptions.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
    principalType: 'ServicePrincipal'
    description: 'Storage Table Data Contributor for desk-query on the table subscriptions of stskeindesk.'
  }
}

resource store0TableTickets 'Microsoft.Storage/storageAccounts/tableServices/tables@2025-06-01' = {
  parent: store0Tables
  name: 'tickets'
}

resource roleTableContributorStore0TableTicketsDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: store0TableTickets
  name: guid(store0TableTickets.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '0a9a7e1f-b9d0-4cc4-a60d-0319b160aaa3')
    principalType: 'ServicePrincipal'
    description: 'Storage Table Data Contributor for desk-query on the table tickets of stskeindesk.'
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

resource bus 'Microsoft.ServiceBus/namespaces@2024-01-01' = {
  name: 'sb-skein-desk-${suffix}'
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
    layer: 'desk'
  }
}

resource queueCommands 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: bus
  name: 'commands'
  properties: {
    requiresSession: true
    requiresDuplicateDetection: false
    lockDuration: 'PT5M'
    maxDeliveryCount: 100
    deadLetteringOnMessageExpiration: true
  }
}

resource queueEvents 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: bus
  name: 'events'
  properties: {
    requiresSession: false
    requiresDuplicateDetection: false
    lockDuration: 'PT5M'
    maxDeliveryCount: 100
    deadLetteringOnMessageExpiration: true
  }
}

resource queueRebuild 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: bus
  name: 'rebuild'
  properties: {
    requiresSession: false
    requiresDuplicateDetection: false
    lockDuration: 'PT5M'
    maxDeliveryCount: 100
    deadLetteringOnMessageExpiration: true
  }
}

resource roleQueueSenderQueueCommandsDeskCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueCommands
  name: guid(queueCommands.id, identityDeskCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: identityDeskCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for desk-command on the queue commands of desk.'
  }
}

resource roleQueueSenderQueueRebuildDeskCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueRebuild
  name: guid(queueRebuild.id, identityDeskCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: identityDeskCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for desk-command on the queue rebuild of desk.'
  }
}

resource roleQueueSenderQueueCommandsDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueCommands
  name: guid(queueCommands.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for desk-query on the queue commands of desk.'
  }
}

resource roleQueueSenderQueueEventsDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueEvents
  name: guid(queueEvents.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for desk-query on the queue events of desk.'
  }
}

resource roleQueueSenderQueueRebuildDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueRebuild
  name: guid(queueRebuild.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for desk-query on the queue rebuild of desk.'
  }
}

resource roleQueueSenderQueueRebuildHallCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueRebuild
  name: guid(queueRebuild.id, identityHallCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: identityHallCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for hall-command on the queue rebuild of desk.'
  }
}

resource roleQueueSenderQueueCommandsHallQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueCommands
  name: guid(queueCommands.id, identityHallQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: identityHallQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for hall-query on the queue commands of desk.'
  }
}

resource roleQueueReceiverQueueCommandsOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: queueCommands
  name: guid(queueCommands.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
    principalType: 'Group'
    description: 'Azure Service Bus Data Receiver for operators on the queue commands of desk.'
  }
}

resource roleQueueSenderQueueCommandsOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: queueCommands
  name: guid(queueCommands.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'Group'
    description: 'Azure Service Bus Data Sender for operators on the queue commands of desk.'
  }
}

resource roleQueueReceiverQueueEventsOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: queueEvents
  name: guid(queueEvents.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
    principalType: 'Group'
    description: 'Azure Service Bus Data Receiver for operators on the queue events of desk.'
  }
}

resource roleQueueSenderQueueEventsOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: queueEvents
  name: guid(queueEvents.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'Group'
    description: 'Azure Service Bus Data Sender for operators on the queue events of desk.'
  }
}

resource roleQueueReceiverQueueRebuildOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: queueRebuild
  name: guid(queueRebuild.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
    principalType: 'Group'
    description: 'Azure Service Bus Data Receiver for operators on the queue rebuild of desk.'
  }
}

resource roleQueueSenderQueueRebuildOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: queueRebuild
  name: guid(queueRebuild.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'Group'
    description: 'Azure Service Bus Data Sender for operators on the queue rebuild of desk.'
  }
}

resource roleQueueReceiverQueueCommandsDeskCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueCommands
  name: guid(queueCommands.id, identityDeskCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'))
  properties: {
    principalId: identityDeskCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Receiver for desk-command on the queue commands of desk.'
  }
}

resource roleQueueReceiverQueueEventsDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueEvents
  name: guid(queueEvents.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Receiver for desk-query on the queue events of desk.'
  }
}

resource roleQueueReceiverQueueRebuildDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueRebuild
  name: guid(queueRebuild.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Receiver for desk-query on the queue rebuild of desk.'
  }
}

resource roleQueueSenderQueueEventsTheTopic 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueEvents
  name: guid(queueEvents.id, topicId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: topicPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for the topic on the queue events of desk.'
  }
}

resource busDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: bus
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

resource alertDeadLetters 'Microsoft.Insights/metricAlerts@2018-03-01' = {
  name: 'sb-skein-desk-dead-letters'
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
        actionGroupId: actionGroupId
      }
    ]
    autoMitigate: true
    description: 'Messages could not be handled and were put aside.'
  }
  tags: {
    system: 'skein'
    environment: environment
    layer: 'desk'
  }
}

resource hostDeskCommand 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: 'stskeindeskc${suffix}'
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
    layer: 'desk'
  }
}

resource hostDeskCommandBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-08-01' = {
  parent: hostDeskCommand
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

resource packagesDeskCommand 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: hostDeskCommandBlobs
  name: 'packages'
  properties: {
    publicAccess: 'None'
  }
}

resource roleBlobOwnerHostDeskCommandDeskCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hostDeskCommand
  name: guid(hostDeskCommand.id, identityDeskCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'))
  properties: {
    principalId: identityDeskCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b')
    principalType: 'ServicePrincipal'
    description: 'Storage Blob Data Owner for desk-command on the host\'s storage of desk-command.'
  }
}

resource hostDeskQuery 'Microsoft.Storage/storageAccounts@2025-06-01' = {
  name: 'stskeindeskq${suffix}'
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
    layer: 'desk'
  }
}

resource hostDeskQueryBlobs 'Microsoft.Storage/storageAccounts/blobServices@2025-08-01' = {
  parent: hostDeskQuery
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

resource packagesDeskQuery 'Microsoft.Storage/storageAccounts/blobServices/containers@2025-06-01' = {
  parent: hostDeskQueryBlobs
  name: 'packages'
  properties: {
    publicAccess: 'None'
  }
}

resource roleBlobOwnerHostDeskQueryDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: hostDeskQuery
  name: guid(hostDeskQuery.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'b7e6dc6d-f1e8-4753-8033-0f276bb0955b')
    principalType: 'ServicePrincipal'
    description: 'Storage Blob Data Owner for desk-query on the host\'s storage of desk-query.'
  }
}

resource planDeskCommand 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: 'plan-desk-command'
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
    layer: 'desk'
  }
}

resource siteDeskCommand 'Microsoft.Web/sites@2024-11-01' = {
  name: 'func-desk-command-${suffix}'
  location: location
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityDeskCommandId}': {}
    }
  }
  properties: {
    clientAffinityEnabled: false
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${hostDeskCommand.properties.primaryEndpoints.blob}packages'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityDeskCommandId
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
    keyVaultReferenceIdentity: identityDeskCommandId
    publicNetworkAccess: 'Enabled'
    serverFarmId: planDeskCommand.id
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
    layer: 'desk'
  }
  dependsOn: [
    packagesDeskCommand
  ]
}

resource settingsDeskCommand 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: siteDeskCommand
  name: 'appsettings'
  properties: {
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'Authorization=AAD;ClientId=${identityDeskCommandClientId}'
    APPLICATIONINSIGHTS_CONNECTION_STRING: '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=appinsights-connection-string)'
    AZURE_CLIENT_ID: identityDeskCommandClientId
    AzureWebJobsStorage__accountName: 'stskeindeskc${suffix}'
    AzureWebJobsStorage__clientId: identityDeskCommandClientId
    AzureWebJobsStorage__credential: 'managedidentity'
    COMMANDS__clientId: identityDeskCommandClientId
    COMMANDS__credential: 'managedidentity'
    COMMANDS__fullyQualifiedNamespace: 'sb-skein-desk-${suffix}.servicebus.windows.net'
    FUNCTIONS_EXTENSION_VERSION: '~4'
    SKEIN_APP: 'func-desk-command-${suffix}'
    SKEIN_APP_AUDIENCE: appAudience
    SKEIN_COMMAND_QUEUES: 'desk=${bus.properties.serviceBusEndpoint}commands,desk/rebuild=${bus.properties.serviceBusEndpoint}rebuild,hall=${replace(bus.properties.serviceBusEndpoint, 'sb-skein-desk-${suffix}', 'sb-skein-${suffix}')}hall-commands,hall/rebuild=${replace(bus.properties.serviceBusEndpoint, 'sb-skein-desk-${suffix}', 'sb-skein-${suffix}')}hall-rebuild'
    SKEIN_EVENT_STORE: store0.properties.primaryEndpoints.table
    SKEIN_FRONT_PRINCIPAL_IDS: '${gatewayPrincipalId},${routerPrincipalId}'
    SKEIN_INTROSPECTION: introspection
    SKEIN_OUTCOMES_PRINCIPAL_IDS: identityDeskQueryPrincipalId
    SKEIN_PERSISTED_ONLY: persistedOnly
    SKEIN_PERSONAL_KEY: '${vaultUri}keys/desk'
    SKEIN_PERSONS: store0.properties.primaryEndpoints.table
    SKEIN_ROUTER_PRINCIPAL_ID: routerPrincipalId
    SKEIN_SERVICE: 'desk'
    SKEIN_TOPIC: topicEndpoint
  }
}

resource authenticationDeskCommand 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: siteDeskCommand
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
                routerPrincipalId
                identityDeskQueryPrincipalId
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
    settingsDeskCommand
  ]
}

resource ftpDeskCommand 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: siteDeskCommand
  name: 'ftp'
  properties: {
    allow: false
  }
  dependsOn: [
    authenticationDeskCommand
  ]
}

resource scmDeskCommand 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: siteDeskCommand
  name: 'scm'
  properties: {
    allow: false
  }
  dependsOn: [
    ftpDeskCommand
  ]
}

resource siteDeskCommandDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: siteDeskCommand
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

resource planDeskQuery 'Microsoft.Web/serverfarms@2024-11-01' = {
  name: 'plan-desk-query'
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
    layer: 'desk'
  }
}

resource siteDeskQuery 'Microsoft.Web/sites@2024-11-01' = {
  name: 'func-desk-query-${suffix}'
  location: location
  kind: 'functionapp,linux'
  identity: {
    type: 'UserAssigned'
    userAssignedIdentities: {
      '${identityDeskQueryId}': {}
    }
  }
  properties: {
    clientAffinityEnabled: false
    functionAppConfig: {
      deployment: {
        storage: {
          type: 'blobContainer'
          value: '${hostDeskQuery.properties.primaryEndpoints.blob}packages'
          authentication: {
            type: 'UserAssignedIdentity'
            userAssignedIdentityResourceId: identityDeskQueryId
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
    keyVaultReferenceIdentity: identityDeskQueryId
    publicNetworkAccess: 'Enabled'
    serverFarmId: planDeskQuery.id
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
    layer: 'desk'
  }
  dependsOn: [
    packagesDeskQuery
  ]
}

resource settingsDeskQuery 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: siteDeskQuery
  name: 'appsettings'
  properties: {
    APPLICATIONINSIGHTS_AUTHENTICATION_STRING: 'Authorization=AAD;ClientId=${identityDeskQueryClientId}'
    APPLICATIONINSIGHTS_CONNECTION_STRING: '@Microsoft.KeyVault(VaultName=${vaultName};SecretName=appinsights-connection-string)'
    AZURE_CLIENT_ID: identityDeskQueryClientId
    AzureWebJobsStorage__accountName: 'stskeindeskq${suffix}'
    AzureWebJobsStorage__clientId: identityDeskQueryClientId
    AzureWebJobsStorage__credential: 'managedidentity'
    EVENTS__clientId: identityDeskQueryClientId
    EVENTS__credential: 'managedidentity'
    EVENTS__fullyQualifiedNamespace: 'sb-skein-desk-${suffix}.servicebus.windows.net'
    FUNCTIONS_EXTENSION_VERSION: '~4'
    REBUILD__clientId: identityDeskQueryClientId
    REBUILD__credential: 'managedidentity'
    REBUILD__fullyQualifiedNamespace: 'sb-skein-desk-${suffix}.servicebus.windows.net'
    SKEIN_APP: 'func-desk-query-${suffix}'
    SKEIN_APP_AUDIENCE: appAudience
    SKEIN_COMMAND_APP: format(siteUrl, 'func-desk-command-${suffix}')
    SKEIN_COMMAND_QUEUES: 'desk=${bus.properties.serviceBusEndpoint}commands,desk/events=${bus.properties.serviceBusEndpoint}events,desk/rebuild=${bus.properties.serviceBusEndpoint}rebuild,hall=${replace(bus.properties.serviceBusEndpoint, 'sb-skein-desk-${suffix}', 'sb-skein-${suffix}')}hall-commands'
    SKEIN_FRONT_PRINCIPAL_IDS: '${gatewayPrincipalId},${routerPrincipalId}'
    SKEIN_INTROSPECTION: introspection
    SKEIN_PERSISTED_ONLY: persistedOnly
    SKEIN_PERSONAL_KEY: '${vaultUri}keys/desk'
    SKEIN_PERSONS: store0.properties.primaryEndpoints.table
    SKEIN_QUERY_STORE: store0.properties.primaryEndpoints.table
    SKEIN_ROUTER_PRINCIPAL_ID: routerPrincipalId
    SKEIN_SERVICE: 'desk'
    SKEIN_SIGNALR: signalrEndpoint
    SKEIN_SIGNALR_HUB: 'desk'
    SKEIN_SIGNALR_PRINCIPAL_ID: signalrPrincipalId
    SKEIN_SOURCES: 'guest=hall,ticket=desk'
  }
}

resource authenticationDeskQuery 'Microsoft.Web/sites/config@2024-11-01' = {
  parent: siteDeskQuery
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
                routerPrincipalId
                signalrPrincipalId
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
    settingsDeskQuery
  ]
}

resource ftpDeskQuery 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: siteDeskQuery
  name: 'ftp'
  properties: {
    allow: false
  }
  dependsOn: [
    authenticationDeskQuery
  ]
}

resource scmDeskQuery 'Microsoft.Web/sites/basicPublishingCredentialsPolicies@2024-11-01' = {
  parent: siteDeskQuery
  name: 'scm'
  properties: {
    allow: false
  }
  dependsOn: [
    ftpDeskQuery
  ]
}

resource siteDeskQueryDiagnostics 'Microsoft.Insights/diagnosticSettings@2021-05-01-preview' = {
  scope: siteDeskQuery
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

output eventsQueueId string = queueEvents.id
output commandUrl string = format(siteUrl, 'func-desk-command-${suffix}')
output commandSite string = 'func-desk-command-${suffix}'
output queryUrl string = format(siteUrl, 'func-desk-query-${suffix}')
output querySite string = 'func-desk-query-${suffix}'

