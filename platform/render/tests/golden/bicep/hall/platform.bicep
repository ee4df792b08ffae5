// Rendered by `cargo xtask render`: a change here is lost with the next one.

param topicName string

param telemetryName string

param vaultName string

param identityHallCommandId string

param identityHallCommandPrincipalId string

param identityHallQueryId string

param identityHallQueryPrincipalId string

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

