-- What a user does next says what kind of user it is. Events are paired with the one after them
-- on the same date; the first and the last event of the date are kept, so that
-- `int_user_running_totals` pairs dates without a second look at the events.
{{
    config(
        meta={'updated_by': 'days'},
        partition_by=['activity_date'],
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
    where user_id is not null and {{ in_changed('event_date') }}

),

pairs as (

    -- a count of all rows, in the order of the rest, has Comet take all of them at once; else it
    -- takes them one by one
    select
        user_id,
        event_date,
        event_at,
        session_id,
        page_category,
        is_paid,
        row_number() over user_events as event_number,
        count(*) over all_user_events as events,
        lead(event_at) over user_events as next_event_at,
        lead(session_id) over user_events as next_session_id,
        lead(page_category) over user_events as next_page_category
    from events
    window
        user_events as (
            partition by user_id, event_date
            order by event_at, session_id, item_in_session, content_hash
        ),
        all_user_events as (
            partition by user_id, event_date
            order by event_at, session_id, item_in_session, content_hash
            rows between unbounded preceding and unbounded following
        )

),

flagged_pairs as (

    select
        *,
        event_number = 1 as is_first,
        event_number = events as is_last,
        session_id <> next_session_id as is_session_change,
        page_category = 'song' and is_paid and event_number < events as next_follows_paid_song,
        page_category = 'song' and not is_paid and event_number < events
            as next_follows_free_song,
        page_category = 'song' and is_paid and session_id = next_session_id
            as next_continues_paid_song,
        page_category = 'song' and not is_paid and session_id = next_session_id
            as next_continues_free_song
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
        max(case when is_session_change then next_event_at end) as last_session_change_at,
        coalesce(
            sum(
                case
                    when is_session_change
                        then unix_seconds(next_event_at) - unix_seconds(event_at)
                end
            ),
            0
        ) as idle_seconds,
        count_if(next_follows_paid_song) as events_after_song_paid,
        count_if(next_follows_free_song) as events_after_song_free,
        count_if(next_follows_paid_song and is_session_change) as session_ends_after_song_paid,
        count_if(next_follows_free_song and is_session_change) as session_ends_after_song_free,
        count_if(page_category = 'advert' and is_session_change) as session_ends_after_advert,
        count_if(next_continues_paid_song and next_page_category = 'advert')
            as adverts_after_song_paid,
        count_if(next_continues_free_song and next_page_category = 'advert')
            as adverts_after_song_free,
        count_if(next_continues_paid_song and next_page_category = 'thumbs_up')
            as thumbs_up_after_song_paid,
        count_if(next_continues_free_song and next_page_category = 'thumbs_up')
            as thumbs_up_after_song_free,
        count_if(next_continues_paid_song and next_page_category = 'thumbs_down')
            as thumbs_down_after_song_paid,
        count_if(next_continues_free_song and next_page_category = 'thumbs_down')
            as thumbs_down_after_song_free,
        count_if(next_continues_free_song and next_page_category = 'upgrade_visit')
            as upgrade_visits_after_song_free,
        count_if(next_continues_paid_song and next_page_category = 'downgrade_visit')
            as downgrade_visits_after_song_paid
    from flagged_pairs
    group by user_id, event_date

)

select * from transitions
