// Rendered by `cargo xtask render`: a change here is lost with the next one.

param topicName string

param telemetryName string

param vaultName string

param identityHallCommandId string

param identityHallCommandPrincipalId string

param identityHallQueryId string

param identityHallQueryPrincipalId string

param busName string

param operatorsId string

param identityDeskCommandId string

param identityDeskCommandPrincipalId string

param identityDeskQueryId string

param identityDeskQueryPrincipalId string

param topicId string

param topicPrincipalId string

param deadLetterAccountId string

resource topic 'Microsoft.EventGrid/topics@2025-02-15' existing = {
  name: topicName
}

resource telemetry 'Microsoft.Insights/components@2020-02-02' existing = {
  name: telemetryName
}

resource vault 'Microsoft.KeyVault/vaults@2024-11-01' existing = {
  name: vaultName
}

resource telemetrySecret 'Microsoft.KeyVault/vaults/secrets@2024-11-01' existing = {
  parent: vault
  name: 'appinsights-connection-string'
}

resource bus 'Microsoft.ServiceBus/namespaces@2024-01-01' existing = {
  name: busName
}

resource roleEventSenderTopicHallCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: topic
  name: guid(topic.id, identityHallCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'd5a91429-5739-47e2-a06b-3470a27159e7'))
  properties: {
    principalId: identityHallCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'd5a91429-5739-47e2-a06b-3470a27159e7')
    principalType: 'ServicePrincipal'
    description: 'EventGrid Data Sender for hall-command on the topic.'
  }
}

resource roleMetricsPublisherTelemetryHallCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: telemetry
  name: guid(telemetry.id, identityHallCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '3913510d-42f4-4e42-8a64-420c390055eb'))
  properties: {
    principalId: identityHallCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '3913510d-42f4-4e42-8a64-420c390055eb')
    principalType: 'ServicePrincipal'
    description: 'Monitoring Metrics Publisher for hall-command on Application Insights.'
  }
}

resource roleSecretsUserTelemetrySecretHallCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: telemetrySecret
  name: guid(telemetrySecret.id, identityHallCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6'))
  properties: {
    principalId: identityHallCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6')
    principalType: 'ServicePrincipal'
    description: 'Key Vault Secrets User for hall-command on the secret appinsights-connection-string.'
  }
}

resource roleMetricsPublisherTelemetryHallQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: telemetry
  name: guid(telemetry.id, identityHallQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '3913510d-42f4-4e42-8a64-420c390055eb'))
  properties: {
    principalId: identityHallQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '3913510d-42f4-4e42-8a64-420c390055eb')
    principalType: 'ServicePrincipal'
    description: 'Monitoring Metrics Publisher for hall-query on Application Insights.'
  }
}

resource roleSecretsUserTelemetrySecretHallQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: telemetrySecret
  name: guid(telemetrySecret.id, identityHallQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6'))
  properties: {
    principalId: identityHallQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6')
    principalType: 'ServicePrincipal'
    description: 'Key Vault Secrets User for hall-query on the secret appinsights-connection-string.'
  }
}

resource queueCommands 'Microsoft.ServiceBus/namespaces/queues@2024-01-01' = {
  parent: bus
  name: 'hall-commands'
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
  name: 'hall-events'
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
  name: 'hall-rebuild'
  properties: {
    requiresSession: false
    requiresDuplicateDetection: false
    lockDuration: 'PT5M'
    maxDeliveryCount: 100
    deadLetteringOnMessageExpiration: true
  }
}

resource roleQueueSenderQueueCommandsHallCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueCommands
  name: guid(queueCommands.id, identityHallCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: identityHallCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for hall-command on the queue commands of hall.'
  }
}

resource roleQueueSenderQueueCommandsHallQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueCommands
  name: guid(queueCommands.id, identityHallQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: identityHallQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for hall-query on the queue commands of hall.'
  }
}

resource roleQueueSenderQueueEventsHallQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueEvents
  name: guid(queueEvents.id, identityHallQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: identityHallQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for hall-query on the queue events of hall.'
  }
}

resource roleQueueSenderQueueRebuildHallQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueRebuild
  name: guid(queueRebuild.id, identityHallQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: identityHallQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for hall-query on the queue rebuild of hall.'
  }
}

resource roleQueueSenderQueueCommandsDeskCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueCommands
  name: guid(queueCommands.id, identityDeskCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: identityDeskCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for desk-command on the queue commands of hall.'
  }
}

resource roleQueueSenderQueueRebuildDeskCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueRebuild
  name: guid(queueRebuild.id, identityDeskCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: identityDeskCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for desk-command on the queue rebuild of hall.'
  }
}

resource roleQueueSenderQueueCommandsDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueCommands
  name: guid(queueCommands.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for desk-query on the queue commands of hall.'
  }
}

resource roleQueueReceiverQueueCommandsOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: queueCommands
  name: guid(queueCommands.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
    principalType: 'Group'
    description: 'Azure Service Bus Data Receiver for operators on the queue commands of hall.'
  }
}

resource roleQueueSenderQueueCommandsOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: queueCommands
  name: guid(queueCommands.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'Group'
    description: 'Azure Service Bus Data Sender for operators on the queue commands of hall.'
  }
}

resource roleQueueReceiverQueueEventsOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: queueEvents
  name: guid(queueEvents.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
    principalType: 'Group'
    description: 'Azure Service Bus Data Receiver for operators on the queue events of hall.'
  }
}

resource roleQueueSenderQueueEventsOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: queueEvents
  name: guid(queueEvents.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'Group'
    description: 'Azure Service Bus Data Sender for operators on the queue events of hall.'
  }
}

resource roleQueueReceiverQueueRebuildOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: queueRebuild
  name: guid(queueRebuild.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
    principalType: 'Group'
    description: 'Azure Service Bus Data Receiver for operators on the queue rebuild of hall.'
  }
}

resource roleQueueSenderQueueRebuildOperators 'Microsoft.Authorization/roleAssignments@2022-04-01' = if (operatorsId != '') {
  scope: queueRebuild
  name: guid(queueRebuild.id, operatorsId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: operatorsId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'Group'
    description: 'Azure Service Bus Data Sender for operators on the queue rebuild of hall.'
  }
}

resource roleQueueReceiverQueueCommandsHallCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueCommands
  name: guid(queueCommands.id, identityHallCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'))
  properties: {
    principalId: identityHallCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Receiver for hall-command on the queue commands of hall.'
  }
}

resource roleQueueReceiverQueueEventsHallQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueEvents
  name: guid(queueEvents.id, identityHallQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'))
  properties: {
    principalId: identityHallQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Receiver for hall-query on the queue events of hall.'
  }
}

resource roleQueueReceiverQueueRebuildHallQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueRebuild
  name: guid(queueRebuild.id, identityHallQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0'))
  properties: {
    principalId: identityHallQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4f6d3b9b-027b-4f4c-9142-0e5a2a2247e0')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Receiver for hall-query on the queue rebuild of hall.'
  }
}

resource roleQueueSenderQueueEventsTheTopic 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: queueEvents
  name: guid(queueEvents.id, topicId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39'))
  properties: {
    principalId: topicPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '69a216fc-b8fb-44d8-bc22-1f3c2cd27a39')
    principalType: 'ServicePrincipal'
    description: 'Azure Service Bus Data Sender for the topic on the queue events of hall.'
  }
}

resource subscription 'Microsoft.EventGrid/topics/eventSubscriptions@2025-02-15' = {
  parent: topic
  name: 'hall'
  properties: {
    eventDeliverySchema: 'CloudEventSchemaV1_0'
    deliveryWithResourceIdentity: {
      identity: {
        type: 'SystemAssigned'
      }
      destination: {
        endpointType: 'ServiceBusQueue'
        properties: {
          resourceId: queueEvents.id
        }
      }
    }
    deadLetterWithResourceIdentity: {
      identity: {
        type: 'SystemAssigned'
      }
      deadLetterDestination: {
        endpointType: 'StorageBlob'
        properties: {
          resourceId: deadLetterAccountId
          blobContainerName: 'eventgrid-deadletters'
        }
      }
    }
    filter: {
      advancedFilters: [
        {
          operatorType: 'StringBeginsWith'
          key: 'subject'
          values: [
            'ticket:'
          ]
        }
      ]
    }
    retryPolicy: {
      maxDeliveryAttempts: 30
      eventTimeToLiveInMinutes: 1440
    }
  }
  dependsOn: [
    roleQueueSenderQueueEventsTheTopic
  ]
}

