// Rendered by `cargo xtask render`: a change here is lost with the next one.

targetScope = 'subscription'

@description('The environment\'s name, part of every group\'s name: small letters and digits.')
@minLength(2)
@maxLength(8)
@metadata({ pattern: '^[a-z0-9]*$' })
param environment string

@description('The region of every resource.')
param location string

@description('The platform\'s resource group.')
@metadata({ from: 'platform.platformGroup' })
param platformGroup string

@description('The topic\'s name.')
@metadata({ from: 'platform.topicName' })
param topicName string

@description('The topic\'s address, without a path.')
@metadata({ from: 'platform.topicEndpoint' })
param topicEndpoint string

@description('The topic\'s id.')
@metadata({ from: 'platform.topicId' })
param topicId string

@description('The principal that delivers events.')
@metadata({ from: 'platform.topicPrincipalId' })
param topicPrincipalId string

@description('The account of undelivered events.')
@metadata({ from: 'platform.deadLetterAccountId' })
param deadLetterAccountId string

@description('The workspace of all logs.')
@metadata({ from: 'platform.workspaceId' })
param workspaceId string

@description('The name of Application Insights.')
@metadata({ from: 'platform.telemetryName' })
param telemetryName string

@description('The name of the vault.')
@metadata({ from: 'platform.vaultName' })
param vaultName string

@description('The address of the vault.')
@metadata({ from: 'platform.vaultUri' })
param vaultUri string

@description('Who is told of alerts.')
@metadata({ from: 'platform.actionGroupId' })
param actionGroupId string

@description('The gateway\'s resource group.')
@metadata({ from: 'gateway.gatewayGroup' })
param gatewayGroup string

@description('The name of API Management.')
@metadata({ from: 'gateway.gatewayName' })
param gatewayName string

@description('The tier of API Management.')
@metadata({ from: 'gateway.gatewayTier' })
param gatewayTier string

@description('The principal that calls the apps.')
@metadata({ from: 'gateway.gatewayPrincipalId' })
param gatewayPrincipalId string

@description('The principal that calls the apps for the graph of all services.')
@metadata({ from: 'gateway.routerPrincipalId' })
param routerPrincipalId string

@description('The name of SignalR.')
@metadata({ from: 'gateway.signalrName' })
param signalrName string

@description('The address of SignalR.')
@metadata({ from: 'gateway.signalrEndpoint' })
param signalrEndpoint string

@description('The principal of SignalR\'s identity.')
@metadata({ from: 'gateway.signalrPrincipalId' })
param signalrPrincipalId string

@description('The client id of the function apps\' Entra application.')
param appClientId string

@description('The audience of the function apps\' tokens, as in api://skein-dev.')
param appAudience string

@description('The address of a site, with {0} where its name stands.')
param siteUrl string = 'https://{0}.azurewebsites.net'

@description('Whether the GraphQL schema may be read.')
@allowed([
  'true'
  'false'
])
param introspection string = 'false'

@description('Whether no GraphQL documents are executed but those of the apps\' lists.')
@allowed([
  'true'
  'false'
])
param persistedOnly string = 'false'

@description('How large an instance is: 512, 2048 or 4096 MB.')
param instanceMemoryMB int = 512

@description('How many instances each app of desk has at most.')
param maximumInstanceCount int = 40

@description('How storage accounts are kept: in three zones unless the region has none.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
  'Standard_GZRS'
])
param storageRedundancy string = 'Standard_ZRS'

@description('The object id of the Entra group that may look at and mend what went wrong; nobody may if it is empty.')
param operatorsId string = ''

var suffix = take(uniqueString(subscription().subscriptionId, 'skein', environment), 5)

resource identityDeskCommand 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  scope: resourceGroup(platformGroup)
  name: 'id-desk-command'
}

resource identityDeskQuery 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  scope: resourceGroup(platformGroup)
  name: 'id-desk-query'
}

resource identityHallCommand 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  scope: resourceGroup(platformGroup)
  name: 'id-hall-command'
}

resource identityHallQuery 'Microsoft.ManagedIdentity/userAssignedIdentities@2024-11-30' existing = {
  scope: resourceGroup(platformGroup)
  name: 'id-hall-query'
}

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-skein-${environment}-desk'
  location: location
  tags: {
    system: 'skein'
    environment: environment
    layer: 'desk'
  }
}

module platform 'desk/platform.bicep' = {
  name: 'platform-desk'
  scope: resourceGroup(platformGroup)
  params: {
    topicName: topicName
    telemetryName: telemetryName
    vaultName: vaultName
    identityDeskCommandId: identityDeskCommand.id
    identityDeskCommandPrincipalId: identityDeskCommand.properties.principalId
    identityDeskQueryId: identityDeskQuery.id
    identityDeskQueryPrincipalId: identityDeskQuery.properties.principalId
  }
}

module service 'desk/service.bicep' = {
  name: 'desk'
  scope: group
  params: {
    environment: environment
    location: location
    suffix: suffix
    workspaceId: workspaceId
    actionGroupId: actionGroupId
    storageRedundancy: storageRedundancy
    operatorsId: operatorsId
    identityDeskCommandId: identityDeskCommand.id
    identityDeskCommandPrincipalId: identityDeskCommand.properties.principalId
    identityDeskQueryId: identityDeskQuery.id
    identityDeskQueryPrincipalId: identityDeskQuery.properties.principalId
    identityHallCommandId: identityHallCommand.id
    identityHallCommandPrincipalId: identityHallCommand.properties.principalId
    identityHallQueryId: identityHallQuery.id
    identityHallQueryPrincipalId: identityHallQuery.properties.principalId
    topicId: topicId
    topicPrincipalId: topicPrincipalId
    appClientId: appClientId
    appAudience: appAudience
    routerPrincipalId: routerPrincipalId
    identityDeskCommandClientId: identityDeskCommand.properties.clientId
    identityDeskQueryClientId: identityDeskQuery.properties.clientId
    gatewayPrincipalId: gatewayPrincipalId
    introspection: introspection
    persistedOnly: persistedOnly
    topicEndpoint: topicEndpoint
    siteUrl: siteUrl
    vaultUri: vaultUri
    signalrEndpoint: signalrEndpoint
    signalrPrincipalId: signalrPrincipalId
    vaultName: vaultName
    instanceMemoryMB: instanceMemoryMB
    maximumInstanceCount: maximumInstanceCount
  }
  dependsOn: [
    platform
  ]
}

module events 'desk/events.bicep' = {
  name: 'events-desk'
  scope: resourceGroup(platformGroup)
  params: {
    topicName: topicName
    eventsQueueId: service.outputs.eventsQueueId
    deadLetterAccountId: deadLetterAccountId
  }
}

module gateway 'desk/gateway.bicep' = {
  name: 'gateway-desk'
  scope: resourceGroup(gatewayGroup)
  params: {
    signalrName: signalrName
    identityDeskQueryId: identityDeskQuery.id
    identityDeskQueryPrincipalId: identityDeskQuery.properties.principalId
    gatewayName: gatewayName
    commandUrl: service.outputs.commandUrl
    queryUrl: service.outputs.queryUrl
    gatewayTier: gatewayTier
  }
}

output group string = 'rg-skein-${environment}-desk'
output commandSite string = service.outputs.commandSite
output querySite string = service.outputs.querySite

