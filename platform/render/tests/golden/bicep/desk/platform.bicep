// Rendered by `cargo xtask render`: a change here is lost with the next one.

param topicName string

param telemetryName string

param vaultName string

param identityDeskCommandId string

param identityDeskCommandPrincipalId string

param identityDeskQueryId string

param identityDeskQueryPrincipalId string

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

resource personalKey 'Microsoft.KeyVault/vaults/keys@2024-11-01' = {
  parent: vault
  name: 'desk'
  properties: {
    kty: 'RSA'
    keySize: 2048
    keyOps: [
      'wrapKey'
      'unwrapKey'
    ]
  }
}

resource roleKeyUserPersonalKeyDeskCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: personalKey
  name: guid(personalKey.id, identityDeskCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'e147488a-f6f5-4113-8e2d-b22465e65bf6'))
  properties: {
    principalId: identityDeskCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'e147488a-f6f5-4113-8e2d-b22465e65bf6')
    principalType: 'ServicePrincipal'
    description: 'Key Vault Crypto Service Encryption User for desk-command on the key desk.'
  }
}

resource roleEventSenderTopicDeskCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: topic
  name: guid(topic.id, identityDeskCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'd5a91429-5739-47e2-a06b-3470a27159e7'))
  properties: {
    principalId: identityDeskCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'd5a91429-5739-47e2-a06b-3470a27159e7')
    principalType: 'ServicePrincipal'
    description: 'EventGrid Data Sender for desk-command on the topic.'
  }
}

resource roleMetricsPublisherTelemetryDeskCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: telemetry
  name: guid(telemetry.id, identityDeskCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '3913510d-42f4-4e42-8a64-420c390055eb'))
  properties: {
    principalId: identityDeskCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '3913510d-42f4-4e42-8a64-420c390055eb')
    principalType: 'ServicePrincipal'
    description: 'Monitoring Metrics Publisher for desk-command on Application Insights.'
  }
}

resource roleSecretsUserTelemetrySecretDeskCommand 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: telemetrySecret
  name: guid(telemetrySecret.id, identityDeskCommandId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6'))
  properties: {
    principalId: identityDeskCommandPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6')
    principalType: 'ServicePrincipal'
    description: 'Key Vault Secrets User for desk-command on the secret appinsights-connection-string.'
  }
}

resource roleKeyUserPersonalKeyDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: personalKey
  name: guid(personalKey.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'e147488a-f6f5-4113-8e2d-b22465e65bf6'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', 'e147488a-f6f5-4113-8e2d-b22465e65bf6')
    principalType: 'ServicePrincipal'
    description: 'Key Vault Crypto Service Encryption User for desk-query on the key desk.'
  }
}

resource roleMetricsPublisherTelemetryDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: telemetry
  name: guid(telemetry.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '3913510d-42f4-4e42-8a64-420c390055eb'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '3913510d-42f4-4e42-8a64-420c390055eb')
    principalType: 'ServicePrincipal'
    description: 'Monitoring Metrics Publisher for desk-query on Application Insights.'
  }
}

resource roleSecretsUserTelemetrySecretDeskQuery 'Microsoft.Authorization/roleAssignments@2022-04-01' = {
  scope: telemetrySecret
  name: guid(telemetrySecret.id, identityDeskQueryId, subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6'))
  properties: {
    principalId: identityDeskQueryPrincipalId
    roleDefinitionId: subscriptionResourceId('Microsoft.Authorization/roleDefinitions', '4633458b-17de-408a-b874-0445c86b69e6')
    principalType: 'ServicePrincipal'
    description: 'Key Vault Secrets User for desk-query on the secret appinsights-connection-string.'
  }
}

