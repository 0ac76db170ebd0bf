/** One of the processes of campaigns.ts: does the campaigns that it is sent, one after the other. */
import { type CampaignOptions, campaign } from './campaign.ts'

process.on('message', async (options: CampaignOptions) => {
  process.send?.(await campaign(options))
})
