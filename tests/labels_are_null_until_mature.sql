-- A label exists exactly when the last of its ten days is complete.
with

features as (

    select
        user_id,
        snapshot_date,
        is_churned_next_10_days,
        is_downgraded_next_10_days
    from {{ ref('churn_features') }}
    where {{ in_tested('snapshot_date', 'snapshots') }}

),

calendar as (

    select last_complete_date
    from {{ ref('churn_calendar') }}

)

select
    features.user_id,
    features.snapshot_date
from features
cross join calendar
where
    (features.is_churned_next_10_days is null)
    <> (features.snapshot_date > date_sub(calendar.last_complete_date, 9))
    or (features.is_downgraded_next_10_days is null)
    <> (features.is_churned_next_10_days is null)
