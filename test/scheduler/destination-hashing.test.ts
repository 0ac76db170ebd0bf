/** Destination hashing: compliance and agreement with its naive model. */
import { test } from 'tap'
import { destinationHashing } from '../../scheduler/destination-hashing.ts'
import { schedulerCompliance } from '../compliance/scheduler.ts'
import { agreesWithNaiveModel } from './naive-agreement.ts'
import { NaiveDestinationHashing } from './naive-hashing.ts'

test('destination hashing is a scheduler', (t) => schedulerCompliance(t, destinationHashing, { mayRefuse: true }))

test('destination hashing agrees with its naive model', (t) =>
  agreesWithNaiveModel(t, destinationHashing, () => new NaiveDestinationHashing()))
