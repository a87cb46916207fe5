-- What a user does next says what kind of user it is. Events are paired with the one before them
-- on the same date; the first and the last event of the date are kept, so that
-- `churn_running_totals` pairs dates without a second look at the events.
{{
    config(
        materialized='incremental',
        incremental_strategy='replace_changed',
        partition_by=['activity_date'],
        on_schema_change='fail',
    )
}}

with

events as (

    select
        user_id,
        session_id,
        event_date,
        event_at,
        item_in_session,
        content_hash,
        page_category,
        is_paid
    from {{ ref('stg_events') }}
    where user_id is not null and {{ in_changed_dates('event_date') }}

),

pairs as (

    select
        user_id,
        event_date,
        event_at,
        session_id,
        page_category,
        is_paid,
        lag(event_at) over user_events as previous_event_at,
        lag(session_id) over user_events as previous_session_id,
        lag(page_category) over user_events as previous_page_category,
        lag(is_paid) over user_events as was_paid,
        lead(event_at) over user_events is null as is_last
    from events
    window user_events as (
        partition by user_id, event_date
        order by event_at, session_id, item_in_session, content_hash
    )

),

flagged_pairs as (

    select
        user_id,
        event_date,
        event_at,
        session_id,
        page_category,
        is_paid,
        previous_event_at,
        previous_event_at is null as is_first,
        is_last,
        session_id <> previous_session_id as is_session_change,
        previous_page_category = 'song' and was_paid as follows_paid_song,
        previous_page_category = 'song' and not was_paid as follows_free_song,
        previous_page_category = 'advert' as follows_advert
    from pairs

),

transitions as (

    select
        user_id,
        event_date as activity_date,
        min(event_at) as first_event_at,
        max(case when is_first then session_id end) as first_session_id,
        max(case when is_first then page_category end) as first_page_category,
        max(event_at) as last_event_at,
        max(case when is_last then session_id end) as last_session_id,
        max(case when is_last then page_category end) as last_page_category,
        max(case when is_last then is_paid end) as last_is_paid,
        count_if(is_session_change) as session_changes,
        max(case when is_session_change then event_at end) as last_session_change_at,
        coalesce(
            sum(
                case
                    when is_session_change
                        then unix_seconds(event_at) - unix_seconds(previous_event_at)
                end
            ),
            0
        ) as idle_seconds,
        count_if(follows_paid_song) as events_after_song_paid,
        count_if(follows_free_song) as events_after_song_free,
        count_if(follows_paid_song and is_session_change) as session_ends_after_song_paid,
        count_if(follows_free_song and is_session_change) as session_ends_after_song_free,
        count_if(follows_advert and is_session_change) as session_ends_after_advert,
        count_if(follows_paid_song and not is_session_change and page_category = 'advert')
            as adverts_after_song_paid,
        count_if(follows_free_song and not is_session_change and page_category = 'advert')
            as adverts_after_song_free,
        count_if(follows_paid_song and not is_session_change and page_category = 'thumbs_up')
            as thumbs_up_after_song_paid,
        count_if(follows_free_song and not is_session_change and page_category = 'thumbs_up')
            as thumbs_up_after_song_free,
        count_if(follows_paid_song and not is_session_change and page_category = 'thumbs_down')
            as thumbs_down_after_song_paid,
        count_if(follows_free_song and not is_session_change and page_category = 'thumbs_down')
            as thumbs_down_after_song_free,
        count_if(follows_free_song and not is_session_change and page_category = 'upgrade_visit')
            as upgrade_visits_after_song_free,
        count_if(follows_paid_song and not is_session_change and page_category = 'downgrade_visit')
            as downgrade_visits_after_song_paid
    from flagged_pairs
    group by user_id, event_date

)

select * from transitions
