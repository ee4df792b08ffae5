// Rendered by `cargo xtask render`: a change here is lost with the next one.

targetScope = 'subscription'

@description('The environment\'s name, part of every group\'s name: small letters and digits.')
@minLength(2)
@maxLength(8)
@metadata({ pattern: '^[a-z0-9]*$' })
param environment string

@description('The region of every resource.')
param location string

@description('Who is told of alerts and of money spent.')
param alertEmail string

@description('The money of a month, in the subscription\'s currency.')
param budgetAmount int = 100

@description('The first day of the budget\'s first month, as in 2026-01-01.')
param budgetStart string

@description('How much is logged in a day at most, in GB.')
param logQuotaGb int = 1

@description('How storage accounts are kept: in three zones unless the region has none.')
@allowed([
  'Standard_LRS'
  'Standard_ZRS'
  'Standard_GZRS'
])
param storageRedundancy string = 'Standard_ZRS'

@description('How the vault is made: recover where one of its name was deleted, since nobody can purge it before its time.')
@allowed([
  'default'
  'recover'
])
param vaultMode string = 'default'

@description('The object id of the Entra group that may look at and mend what went wrong; nobody may if it is empty.')
param operatorsId string = ''

var suffix = take(uniqueString(subscription().subscriptionId, 'skein', environment), 5)

resource group 'Microsoft.Resources/resourceGroups@2025-04-01' = {
  name: 'rg-skein-${environment}-platform'
  location: location
  tags: {
    system: 'skein'
    environment: environment
    layer: 'platform'
  }
}

resource budget 'Microsoft.Consumption/budgets@2024-08-01' = {
  name: 'skein-${environment}'
  properties: {
    amount: budgetAmount
    category: 'Cost'
    timeGrain: 'Monthly'
    timePeriod: {
      startDate: budgetStart
    }
    filter: {
      and: [
        {
          tags: {
            name: 'system'
            operator: 'In'
            values: [
              'skein'
            ]
          }
        }
        {
          tags: {
            name: 'environment'
            operator: 'In'
            values: [
              environment
            ]
          }
        }
      ]
    }
    notifications: {
      spent80: {
        contactEmails: [
          alertEmail
        ]
        enabled: true
        operator: 'GreaterThan'
        threshold: 80
        thresholdType: 'Actual'
      }
      forecast100: {
        contactEmails: [
          alertEmail
        ]
        enabled: true
        operator: 'GreaterThan'
        threshold: 100
        thresholdType: 'Forecasted'
      }
    }
  }
}

module platform 'platform/platform.bicep' = {
  name: 'platform'
  scope: group
  params: {
    environment: environment
    location: location
    suffix: suffix
    alertEmail: alertEmail
    logQuotaGb: logQuotaGb
    storageRedundancy: storageRedundancy
    operatorsId: operatorsId
    vaultMode: vaultMode
  }
}

output platformGroup string = 'rg-skein-${environment}-platform'
output topicName string = platform.outputs.topicName
output topicEndpoint string = platform.outputs.topicEndpoint
output topicId string = platform.outputs.topicId
output topicPrincipalId string = platform.outputs.topicPrincipalId
output deadLetterAccountId string = platform.outputs.deadLetterAccountId
output workspaceId string = platform.outputs.workspaceId
output telemetryName string = platform.outputs.telemetryName
output vaultName string = platform.outputs.vaultName
output vaultUri string = platform.outputs.vaultUri
output actionGroupId string = platform.outputs.actionGroupId
output busName string = platform.outputs.busName
output busEndpoint string = platform.outputs.busEndpoint

